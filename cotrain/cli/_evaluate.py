"""The command that evaluates finished runs: `evaluate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database
from cotrain.cli._text import as_text
from cotrain.config import Config
from cotrain.errors import ConfigError
from cotrain.resolve import config_class

ROOM = "cotrain.evaluations"


def add_commands(commands: Commands) -> None:
    added = commands.add(
        "evaluate",
        evaluate,
        "evaluate finished runs of the database beside what training scored",
        "neuron_scores --recipe hvm_v4",
        "noise_accuracy a2493a00 --config levels.yaml",
    )
    added.add_argument("kind", help="what is computed: neuron_scores, noise_accuracy (`cotrain show evaluations`)")
    added.add_argument("runs", nargs="*", metavar="RUN", help="key (or its beginning) or label; default: all runs")
    added.add_argument("--recipe", help="only runs of this recipe")
    added.add_argument("--config", type=Path, metavar="FILE", help="YAML with fields of the evaluation's config")
    held = "also take what other processes hold, which you know to be dead"
    added.add_argument("--take-over", action="store_true", help=held)


def evaluate(options: argparse.Namespace) -> int:
    config = _config(options.kind, options.config)
    with database():
        from cotrain.tables import evaluate, queries
        from cotrain.tables.evaluations import table_of

        table = table_of(config.kind)
        recipe = None if options.recipe is None else queries.find_recipe_name(options.recipe)
        runs = queries.runs(recipe=recipe)
        if options.runs:
            runs = runs & [queries.find_run(text) for text in options.runs]
        found = evaluate.evaluate(
            config,
            runs,
            progress=sys.stderr.isatty(),
            take_over=options.take_over,
            on_failure=lambda key, text: print(f"{key}: {text}", file=sys.stderr),
        )
        rows = evaluate.frame(config, runs)
    if len(rows):
        rows["run"] = rows["run_key"].str[:8]
        groups = rows.groupby(["label", "seed", "run", *table.within], sort=False)
        medians = groups[list(table.shown)].median().astype(float)
        medians.insert(0, "rows", groups.size())
        print(as_text(medians.reset_index()))
    elsewhere = f", {found.elsewhere} are held by other processes" if found.elsewhere else ""
    print(f"{found.done} runs evaluated, {found.known} were before, {len(found.failed)} failed{elsewhere}.")
    return 1 if found.failed else 0


def _config(kind: str, file: Path | None) -> Config:
    name = kind if "." in kind else f"{ROOM}.{kind}"
    cls = config_class(name)
    if file is None:
        return cls()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from None
    return cls.from_yaml(text)
