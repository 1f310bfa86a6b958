"""What finetuning changed: readouts of runs beside those of the runs that they started from, seed by seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cotrain.chains import resolved
from cotrain.config import Config
from cotrain.errors import DatabaseError
from cotrain.tables import evaluate, queries
from cotrain.tables.configs import Model
from cotrain.tables.evaluations import Evaluation, LinearSvmScores
from cotrain.tables.overview import labels_of
from cotrain.tables.runs import ParentRun, RecipeRun, Run, TrainedModel
from cotrain.tables.selection import only
from cotrain.training import RunOfConfig, StartFromConfig

if TYPE_CHECKING:
    import pandas as pd

SUITE = LinearSvmScores.kinds[0].rpartition(".")[2]


@dataclass(frozen=True)
class FinetuningReadouts:
    """Readouts of one evaluation, before and after finetuning.

    Args:
        scores: {label of what was started from: rows of it and of what started from it, as
            `cotrain.analysis.finetuning_deltas` takes them: label, seed, score, value (accuracy, 0 to 1)}.
        described: The evaluation, in a few words.
        notes: Sentences on what is left out, and why.
    """

    scores: dict[str, pd.DataFrame]
    described: str
    notes: tuple[str, ...]


def finetuning_readouts(recipe: str, *, evaluation: str | None = None) -> FinetuningReadouts:
    """Accuracy of linear support vector machines of runs that started from others (`StartFromConfig`), and of those.

    Only runs of one seed are paired, that were read out on the same images: those of the data that the evaluation names
    as `labelled`, of its files, or of data that both were trained on.

    Args:
        recipe: Its name. What its runs started from may be a run of another one.
        evaluation: Key of the evaluation (suite linear_svm_scores), or the beginning of it; None: the only one.

    Raises:
        DatabaseError: No run of the recipe started from another, none of the pairs is evaluated so, or there are
            several evaluations.
    """
    name = queries.find_recipe_name(recipe)
    starts = starts_of(queries.runs(recipe=name))
    if not starts:
        raise DatabaseError(
            f"No run of {name} starts from another (StartFromConfig), so there is no before and after. "
            "`cotrain report RECIPE --baseline LABEL` compares runs of one seed."
        )
    asked = queries.runs() & only({*starts, *starts.values()})
    key = _chosen(asked, evaluation)
    config: Any = Evaluation.load({"evaluation_key": key})
    rows = evaluate.frame(config, asked).rename(columns={"svm": "value"})
    rows["score"] = (rows.target + " " + rows.session).str.strip() + " " + rows.layer
    rows["label"] = rows.run_key.map(_labels(asked, name))
    same_images = config.labelled is not None or set(rows.target) <= {file.name for file in config.files}
    reasons = _reasons(starts, asked, set(rows.run_key), same_images=same_images)
    paired = {run: start for run, start in starts.items() if run not in reasons}
    if not paired:
        raise DatabaseError(
            f"No run of {name} can be compared with what it started from ({_fields(config)}; evaluation {key[:8]}). "
            + _note(reasons, len(starts))
        )
    notes = (_note(reasons, len(starts)),) if reasons else ()
    images, chance = _span(rows.images, digits=0), _span(100 * rows.chance, digits=1)
    described = f"{images} images a readout, chance {chance}; {_fields(config)}; evaluation {key[:8]}"
    return FinetuningReadouts(_by_start(rows, paired, name), described, notes)


def starts_of(runs: Any) -> dict[str, str]:
    """{key of a run: key of the run whose weights its model started from}, of those runs that did.

    Args:
        runs: A DataJoint query of runs.
    """
    found, models = {}, {}
    for row in (Run() & runs.proj() & ParentRun()).to_dicts():
        key = row["model_key"]
        if key not in models:
            models[key] = _start(Model.load({"model_key": key}))
        if (start := models[key]) is not None:
            found[row["run_key"]] = resolved(start.run, seed=row["seed"]).key
    return found


def _start(config: Config) -> StartFromConfig | None:
    """The outermost start of a model's config, which may stand within that of another builder."""
    if isinstance(config, StartFromConfig):
        return config
    held = (getattr(config, name) for name in type(config).model_fields)
    within = (_start(part) for part in held if isinstance(part, Config) and not isinstance(part, RunOfConfig))
    return next((start for start in within if start is not None), None)


def _chosen(runs: Any, evaluation: str | None) -> str:
    """The key of the one evaluation of these runs that is meant."""
    stored = (LinearSvmScores() & runs.proj()).proj("svm_count").to_dicts()
    counts: Counter[str] = Counter()
    for row in stored:
        if row["evaluation_key"].startswith(evaluation or ""):
            counts[row["evaluation_key"]] += bool(row["svm_count"])
    if len(counts) == 1:
        return next(iter(counts))
    if not stored:
        raise DatabaseError(
            f"Nothing was read out of these {len(runs)} runs yet. `cotrain evaluate --suite {SUITE} --recipe RECIPE "
            "--config FILE` does it; in the file, `labelled` names data with a classification for runs without any."
        )
    if not counts:
        known = ", ".join(sorted({row["evaluation_key"][:8] for row in stored}))
        raise DatabaseError(f"These runs have no evaluation {evaluation!r} of {SUITE}. They have: {known}.")
    held = {key: _fields(Evaluation.load({"evaluation_key": key})) for key in sorted(counts)}
    lines = [f"{key[:8]}  {fields}; {counts[key]} runs with a readout" for key, fields in held.items()]
    raise DatabaseError(
        "These runs have several evaluations of {}:\n  {}\nChoose one by --evaluation.".format(
            SUITE, "\n  ".join(lines)
        )
    )


def _reasons(starts: dict[str, str], runs: Any, scored: set[str], *, same_images: bool) -> dict[str, str]:
    """{key of a run that has no pair: why}."""
    rows = {row["run_key"]: row for row in runs.proj("seed", "dataset_key").to_dicts()}
    finished = {row["run_key"] for row in (TrainedModel() & runs.proj()).proj().to_dicts()}
    found = {}
    for run, start in starts.items():
        if start not in rows or rows[run]["seed"] != rows[start]["seed"]:
            found[run] = "that started from a run of another seed, or from one that this database lacks"
        elif not {run, start} <= finished:
            found[run] = "that are not finished, or whose start is not"
        elif not {run, start} <= scored:
            found[run] = f"without such a readout, or whose start has none (`cotrain evaluate --suite {SUITE}`)"
        elif not same_images and rows[run]["dataset_key"] != rows[start]["dataset_key"]:
            found[run] = "read out on images of their own data, which are not those of their start (name `labelled`)"
    return found


def _note(reasons: dict[str, str], runs: int) -> str:
    counts = "; ".join(f"{count} {why}" for why, count in Counter(reasons.values()).items())
    return f"Left out are {len(reasons)} of {runs} finetuned runs: {counts}."


def _fields(config: Any) -> str:
    data = "own data" if config.labelled is None else f"labelled by {config.labelled.kind}"
    return f"{config.variant}, {config.split} images, {data}, layers {', '.join(config.layers)}, seed {config.seed}"


def _span(values: pd.Series, *, digits: int) -> str:
    """The value, or from which to which."""
    return " to ".join(dict.fromkeys(f"{value:.{digits}f}" for value in (values.min(), values.max())))


def _labels(runs: Any, recipe: str) -> dict[str, str]:
    """Labels of the recipe; of others for runs that it has not; else the beginning of the key."""
    keys = {row["run_key"]: row["run_key"][:8] for row in runs.proj().to_dicts()}
    return keys | labels_of(runs, None) | labels_of(runs, recipe)


def _by_start(rows: pd.DataFrame, paired: dict[str, str], recipe: str) -> dict[str, pd.DataFrame]:
    """Rows of each start with those of what started from it, in the order of the recipe."""
    import pandas as pd

    places = {row["run_key"]: row["place"] for row in (RecipeRun() & {"recipe": recipe}).to_dicts()}
    of_run = dict(tuple(rows.groupby("run_key")))
    groups: dict[str, dict[str, None]] = {}
    for run in sorted(paired, key=places.__getitem__):
        start = paired[run]
        groups.setdefault(of_run[start].label.iloc[0], {}).update({start: None, run: None})
    columns = ["label", "seed", "score", "value"]
    return {label: pd.concat([of_run[run] for run in runs])[columns] for label, runs in groups.items()}
