"""`deltas`: what finetuning changed in what can be read out of runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database
from cotrain.errors import DatabaseError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

ABOUT = (
    "Differences are the second value less the first, in points of a hundred, in pairs of one seed: their mean over\n"
    "seeds and its 95 % interval (Student's t), which is not corrected for the number of rows."
)


def add_commands(commands: Commands) -> None:
    added = commands.add(
        "deltas",
        deltas,
        "print what finetuning changed: readouts of finished runs beside those of the runs that they started from, "
        "seed by seed",
        "rdm_finetuning",
        "rdm_finetuning --control 'V4 shuffled, control' --out deltas.png",
        "rdm_finetuning --evaluation ef8c236b",
    )
    help_ = "name of a recipe in the database; `cotrain evaluate --suite linear_svm_scores` reads out of its runs first"
    added.add_argument("recipe", help=help_)
    control = "also print how the others differ, after finetuning, from this label's; may be given several times"
    added.add_argument("--control", metavar="LABEL", action="append", default=[], help=control)
    single = "print differences of one seed as well, marked as such; without it they are refused"
    added.add_argument("--single-seed", action="store_true", help=single)
    key = "key (or its beginning) of the evaluation, where there are several"
    added.add_argument("--evaluation", metavar="KEY", help=key)
    added.add_argument("--out", type=Path, metavar="FILE", help="draw a picture into this .png, .pdf or .svg file")


def deltas(options: argparse.Namespace) -> int:
    from cotrain.analysis import check_picture_path, deltas_as_text, deltas_figure, finetuning_deltas, save_figure

    if options.out is not None:
        check_picture_path(options.out)
    with database():
        from cotrain.tables.deltas import finetuning_readouts

        found = finetuning_readouts(options.recipe, evaluation=options.evaluation)
    _require(options.control, found.scores)
    tables = {start: finetuning_deltas(rows, start) for start, rows in found.scores.items()}
    texts = [f"Accuracy, percent, of linear support vector machines ({found.described})."]
    for start, rows in found.scores.items():
        text = deltas_as_text(tables[start], single_seed=options.single_seed)
        texts.append(f"Started from {start!r}:\n{text}")
        after = rows[rows.label != start]
        for control in dict.fromkeys(options.control):
            if control not in set(after.label):
                continue
            beyond = finetuning_deltas(after, control)
            text = deltas_as_text(beyond, single_seed=options.single_seed, columns=("control", "after"))
            texts.append(f"After finetuning, beside the control {control!r}:\n{text}")
    print("\n\n".join([*texts, "\n".join([ABOUT, *found.notes])]))
    if options.out is not None:
        save_figure(deltas_figure(found.scores), options.out)
        print(f"\npicture: {options.out}")
    return 0


def _require(controls: list[str], scores: dict[str, pd.DataFrame]) -> None:
    known = list(dict.fromkeys(label for start, rows in scores.items() for label in rows.label if label != start))
    for control in controls:
        if control not in known:
            raise DatabaseError(f"There is no finetuned run {control!r} to compare with.{did_you_mean(control, known)}")
