"""The command that evaluates finished runs: `evaluate`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database
from cotrain.cli._text import as_text
from cotrain.config import Config
from cotrain.errors import ConfigError, DatabaseError
from cotrain.resolve import config_class

if TYPE_CHECKING:
    import pandas as pd

ROOM = "cotrain.evaluations"
ROBUSTNESS = ("corruptions", "corrupted_folders")
SUITES = (
    *ROBUSTNESS,
    "linear_svm_scores",
    "manifolds",
    "neural_regression",
    "neuron_scores",
    "noise_accuracy",
    "noise_mixture",
    "rsa",
    "sit_scores",
    "smooth_manifolds",
)


def add_commands(commands: Commands) -> None:
    added = commands.add(
        "evaluate",
        evaluate,
        "evaluate finished runs of the database beside what training scored",
        "--suite corruptions --recipe hvm_v4 --baseline baseline",
        "a2493a00 co-trained --suite corrupted_folders --config tiny_imagenet_c.yaml",
        "--suite neuron_scores",
        "--suite rsa --recipe digits_v1 --config rsa.yaml",
        "--suite neural_regression --recipe hvm_v4",
        "--suite manifolds --recipe cifar_manifolds --config manifolds.yaml",
    )
    added.add_argument(
        "runs", nargs="*", metavar="RUN", help="key (or its beginning), or label (its runs of all seeds); default: all"
    )
    suites = f"what is computed: {', '.join(SUITES)} (`cotrain show evaluations` tells what each is)"
    added.add_argument("--suite", required=True, metavar="KIND", help=suites)
    added.add_argument("--recipe", help="only runs of this recipe")
    added.add_argument("--config", type=Path, metavar="FILE", help="YAML with fields of the evaluation's config")
    shares = f"of {' and '.join(ROBUSTNESS)}: also mCE and relative mCE, errors as shares of this run's or label's"
    added.add_argument("--baseline", metavar="RUN", help=shares)
    held = "also take what other processes hold, which you know to be dead"
    added.add_argument("--take-over", action="store_true", help=held)


def evaluate(options: argparse.Namespace) -> int:
    config = read_suite(options.suite, options.config)
    of_robustness = config.kind.removeprefix(f"{ROOM}.") in ROBUSTNESS
    if options.baseline is not None and not of_robustness:
        raise ConfigError(
            f"--baseline is for the suites {' and '.join(ROBUSTNESS)}; {options.suite} has no use for it."
        )
    with database():
        from cotrain.cli._robustness import robustness_text
        from cotrain.tables import evaluate, queries
        from cotrain.tables.evaluations import table_of
        from cotrain.tables.selection import only

        table = table_of(config.kind)
        recipe = None if options.recipe is None else queries.find_recipe_name(options.recipe)
        chosen = every = queries.runs(recipe=recipe)
        if options.runs:
            chosen = every & [key for text in options.runs for key in queries.find_runs(text)]
        baseline = [] if options.baseline is None else _of(every, queries.find_runs(options.baseline), options)
        keys = {row["run_key"] for row in chosen.proj().to_dicts()} | set(baseline)
        runs = queries.runs() & only(sorted(keys))
        found = evaluate.evaluate(
            config,
            runs,
            progress=sys.stderr.isatty(),
            take_over=options.take_over,
            on_failure=lambda key, text: print(f"{key}: {text}", file=sys.stderr),
        )
        rows = evaluate.frame(config, runs)
    if len(rows):
        print(robustness_text(rows, baseline) if of_robustness else _medians(rows, table))
    elsewhere = f", {found.elsewhere} are held by other processes" if found.elsewhere else ""
    print(f"{found.done} runs evaluated, {found.known} were before, {len(found.failed)} failed{elsewhere}.")
    return 1 if found.failed else 0


def _of(every: Any, keys: Sequence[dict[str, str]], options: argparse.Namespace) -> list[str]:
    """The keys of a baseline: of a label that several recipes have, those of the recipe that was asked for."""
    found = [row["run_key"] for row in (every & keys).proj().to_dicts()]
    if not found:
        raise DatabaseError(f"The recipe {options.recipe} has no run {options.baseline!r}, the baseline.")
    return found


def _medians(rows: pd.DataFrame, table: Any) -> str:
    rows["run"] = rows["run_key"].str[:8]
    groups = rows.groupby(["label", "seed", "run", *table.within], sort=False)
    medians = groups[list(table.shown)].median().astype(float)
    for name in table.shown:  # counts are read as such
        if rows[name].dtype.kind == "i" and not (medians[name] % 1).any():
            medians[name] = medians[name].astype(int)
    medians.insert(0, "rows", groups.size())
    return as_text(medians.reset_index())


def read_suite(suite: str, file: Path | None) -> Config:
    """The config of a suite, with the fields that a YAML file holds.

    Raises:
        ConfigError: There is no such suite, or the file cannot be read or does not fit it.
    """
    name = suite if "." in suite else f"{ROOM}.{suite}"
    cls = config_class(name)
    if file is None:
        return cls()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from None
    return cls.from_yaml(text)
