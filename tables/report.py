"""A recipe's results: a table of test scores with the query behind it, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis import overview_figure, paired_differences, save_figure
from cotrain.dissimilarity import pairs
from cotrain.errors import DatabaseError
from cotrain.resolve import build
from cotrain.tables import queries
from cotrain.tables.runs import Recipe, RecipeRun, Run, TrainedModel
from cotrain.tables.store import load_model
from cotrain.tasks import PRIMARY_METRIC, DataInfo
from cotrain.training import predict

if TYPE_CHECKING:
    import pandas as pd

METRICS = tuple(PRIMARY_METRIC.values())


def text(recipe: str, *, baseline: str | None = None) -> str:
    """Question, table of primary test scores (mean over seeds) and the query that made it.

    With a `baseline` (the label of an experiment) also how the others differ from it, seed by seed.
    """
    scores = queries.held_out_scores(queries.runs(recipe=recipe), recipe=recipe)
    if not len(scores):
        raise DatabaseError(
            f"No run of {recipe} is finished yet. `cotrain work` trains them; `cotrain ls` shows how far."
        )
    shown = scores[(scores.session == "") & scores.metric.isin(METRICS)].copy()
    shown["column"] = shown.task + " " + shown.metric
    mean = shown.pivot_table(index="label", columns="column", values="value", aggfunc="mean")
    mean.insert(0, "seeds", shown.groupby("label").seed.nunique())
    mean = mean.loc[[label for label in queries.labels(recipe) if label in mean.index]]
    mean.index.name = mean.columns.name = None
    question = (Recipe() & {"recipe": recipe}).fetch1("question")
    differences = [] if baseline is None else ["", *_differences(shown, list(mean.index), baseline)]
    return "\n".join(
        [
            question,
            "",
            "Test scores of the epoch that validation chose, mean over seeds:",
            mean.to_string(float_format="{:.3f}".format, na_rep="-"),
            *differences,
            "",
            "The query:",
            "    from cotrain.tables.runs import RecipeRun, TrainedModel",
            f'    runs = RecipeRun & {{"recipe": "{recipe}"}}',
            '    (TrainedModel.Score & {"split": "test", "session": ""}) * runs',
        ]
    )


def _differences(shown: pd.DataFrame, labels: list[str], baseline: str) -> list[str]:
    in_order = shown.assign(place=shown.label.map({label: place for place, label in enumerate(labels)}))
    in_order = in_order.sort_values(["place", "column", "seed"]).rename(columns={"column": "score"})
    found = paired_differences(in_order, baseline)
    if not len(found):
        return [f"No other experiment shares a score and a seed with {baseline!r}."]
    bounds = zip(found.low, found.high, strict=True)
    intervals = ["[one seed]" if np.isnan(low) else f"[{low:+.3f}, {high:+.3f}]" for low, high in bounds]
    found["text"] = [f"{mean:+.3f} {interval}" for mean, interval in zip(found.difference, intervals, strict=True)]
    table = found.pivot_table(index="label", columns="score", values="text", aggfunc="first", sort=False)
    table.insert(0, "seeds", found.groupby("label").seeds.min())
    table.index.name = table.columns.name = None
    return [
        f"Difference from {baseline!r} within each seed: mean over seeds and its 95 % interval (Student's t):",
        table.to_string(na_rep="-"),
    ]


def draw(recipe: str, path: Path) -> None:
    """Curves of every finished run (of the lowest seed) and RDMs of the test stimuli, as a picture file."""
    first: dict[str, dict[str, str]] = {}
    rows = ((RecipeRun() & {"recipe": recipe}) * TrainedModel().proj() * Run().proj("seed")).to_dicts()
    for row in sorted(rows, key=lambda row: (row["place"], row["seed"])):
        first.setdefault(row["label"], {"run_key": row["run_key"]})
    if not first:
        raise DatabaseError(f"No run of {recipe} is finished yet.")
    curves, test, metrics = {}, {}, {}
    for label, key in first.items():
        frame = queries.curves(key)
        curves[label] = frame[(frame.split == "validation") & (frame.session == "")]
        scores = queries.held_out_scores(queries.runs() & key)
        scores = scores[(scores.session == "") & scores.metric.isin(METRICS)]
        test[label] = dict(zip(scores.task, scores.value, strict=True))
        metrics.update(dict(zip(scores.task, scores.metric, strict=True)))
    question = (Recipe() & {"recipe": recipe}).fetch1("question")
    figure = overview_figure(curves, metrics, test, _rdms(first), title=question)
    save_figure(figure, path, dpi=150)


def _rdms(runs: dict[str, dict[str, str]]) -> dict[str, NDArray[np.float64]]:
    """The target RDM of the test stimuli and that of each run which learnt it."""
    import torch

    found: dict[str, NDArray[np.float64]] = {}
    for label, key in runs.items():
        infos = DataInfo.from_record((TrainedModel() & key).fetch1("data_info"))
        task = next((name for name, info in infos.tasks.items() if info.kind == "rdm"), None)
        if task is None:
            continue
        experiment = Run.load(key)
        data = build(experiment.data, seed=experiment.seed)
        session, source = next(iter(data.splits["test"][task].items()))
        model: Any = load_model(key)
        predicted = model.objectives[task].rdm(predict(model, source, task, session, torch.device("cpu")))
        score = np.corrcoef(pairs(predicted), pairs(source.targets.double()))[0, 1]
        found.setdefault(f"{task}: target", source.targets.double().numpy())
        found[f"{label} (r = {score:.2f})"] = predicted.numpy()
    return found
