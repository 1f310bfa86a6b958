"""Commands that draw: `plot corruptions`, `plot contact-sheet`; the others of own files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cotrain.cli._commands import Commands, positive
from cotrain.cli._connected import database
from cotrain.cli._plot_manifolds import add_manifolds
from cotrain.cli._plot_rdm import add_rdm
from cotrain.cli._plot_regression import add_regression
from cotrain.cli._plot_smooth_manifolds import add_smooth_manifolds
from cotrain.cli._text import as_columns
from cotrain.errors import CotrainError
from cotrain.settings import data_folder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from cotrain.analysis import Robustness

PRESETS = {"imagenet_c": 224, "tiny_imagenet_c": 64, "cifar_c": 32}
"""Those of `cotrain.data.corruptions` with the pixels a side they are made for, named here so that `--help` needs no
torch."""

DEFAULT_IMAGE = "flower.jpg"  # of scikit-learn's sample pictures


def add_commands(commands: Commands) -> None:
    group = commands.group(
        "plot",
        "draw what was evaluated, RDMs and manifolds of layers, neurons predicted from them, and what corruptions do",
        "corruptions --recipe digits_v1 --baseline 'objects only' --out robustness.pdf",
        "rdm a2493a00 --layer layer3 --target it_rdm --out rdm.pdf",
        "regression --recipe hvm_v4 --untrained --out depth.pdf",
        "contact-sheet --out corruptions.png",
    )

    added = group.add(
        "corruptions",
        corruptions,
        "draw how scores fall under corruptions: curves over severity, heat maps, differences to a baseline",
        "--recipe digits_v1 --out robustness.pdf",
        "--recipe digits_v1 --task objects --metric top5 --baseline 'objects only' --out robustness.png",
        "'objects only' together --preset tiny_imagenet_c --out two.svg",
    )
    runs = "label (its runs of all seeds) or key (or its beginning) of a run; default: all that are evaluated"
    added.add_argument("runs", nargs="*", metavar="RUN", help=runs)
    added.add_argument("--recipe", help="only runs of this recipe, in its order and by its labels")
    added.add_argument("--task", help="whose scores; needed where the runs have several")
    added.add_argument("--metric", help="default: accuracy, correlation or spearman, as the task has it")
    added.add_argument("--session", default="", help="of a neural or RDM task (default: all together)")
    baseline = "also draw how the others differ from this one, seed by seed, and print mCE"
    added.add_argument("--baseline", metavar="LABEL", help=baseline)
    added.add_argument("--preset", choices=(*PRESETS, "files"), help="of the evaluation, where there are several")
    key = "key (or its beginning) of the evaluation, where there are several of one preset"
    added.add_argument("--evaluation", metavar="KEY", help=key)
    _add_out(added)

    added = group.add(
        "contact-sheet",
        sheet,
        "draw one image under every corruption at every severity; needs no database",
        "--out corruptions.png",
        "--image cat.jpg --preset tiny_imagenet_c --out cat.pdf",
    )
    image = "a picture, from here or else from the data folder (default: a photograph that scikit-learn has)"
    added.add_argument("--image", type=Path, metavar="FILE", help=image)
    preset = "which published table of severities (default imagenet_c)"
    added.add_argument("--preset", choices=PRESETS, default="imagenet_c", help=preset)
    sizes = ", ".join(map(str, PRESETS.values()))
    size = f"pixels a side to which its middle is scaled (default: those of the preset, {sizes})"
    added.add_argument("--size", type=positive, metavar="PIXELS", help=size)
    added.add_argument("--seed", type=int, default=0, help="of the random numbers (default 0)")
    frost = "the benchmark's pictures of frost, from here or else from the data folder (default: our own textures)"
    added.add_argument("--frost-folder", type=Path, metavar="FOLDER", help=frost)
    _add_out(added)

    add_manifolds(group)
    add_rdm(group)
    add_regression(group)
    add_smooth_manifolds(group)


def _add_out(added: argparse.ArgumentParser) -> None:
    added.add_argument("--out", type=Path, required=True, metavar="FILE", help="the picture: .png, .pdf or .svg")


def corruptions(options: argparse.Namespace) -> int:
    """Draw what the database holds of scores under corruptions, and print its summary."""
    from cotrain.analysis import check_picture_path, robustness, robustness_figure, save_figure

    check_picture_path(options.out)
    with database():
        from cotrain.tables.robustness import scores_under_corruption

        found = scores_under_corruption(
            options.runs, recipe=options.recipe, preset=options.preset, evaluation=options.evaluation
        )
    held = robustness(
        found.rows, task=options.task, metric=options.metric, session=options.session, labels=found.labels
    )
    where = f" ({found.described})"
    title = f"{held.task}{f', session {held.session}' * bool(held.session)}: {held.metric} under corruption"
    print(f"{title}{where}\n")
    print(as_columns(_table(held, options.baseline)))
    for note in _notes(held, options.baseline, found.without):
        print(note)
    figure = robustness_figure(held, baseline=options.baseline, title=title + where)
    save_figure(figure, options.out)
    print(f"\npicture: {options.out}")
    return 0


def _table(held: Robustness, baseline: str | None) -> pd.DataFrame:
    """A row a label: clean, corrupted, each with its interval; against a baseline also the difference, and mCE."""
    import pandas as pd

    from cotrain.analysis import corruption_errors, label_summary, robustness_differences

    summary = label_summary(held)
    rows: dict[str, dict[str, object]] = {label: {} for label in held.labels}
    for row in summary[summary.score.isin(["clean", "corrupted"])].to_dict("records"):
        shown = _with_interval(row["mean"], row["low"], row["high"])
        rows[row["label"]] |= {"seeds": row["seeds"], row["score"]: shown}
    if baseline is not None:
        differences = robustness_differences(held, baseline)
        for row in differences[differences.score == "corrupted"].to_dict("records"):
            shown = _with_interval(row["difference"], row["low"], row["high"], sign="+")
            rows[row["label"]]["difference"] = shown
        if held.metric in ("accuracy", "top5"):
            errors = corruption_errors(held, baseline).groupby("label")[["mce", "relative_mce"]].mean()
            for row in errors.reset_index().to_dict("records"):
                rows[row["label"]] |= {"mCE": row["mce"], "relative mCE": row["relative_mce"]}
    return pd.DataFrame(list(rows.values()), index=list(rows))


def _with_interval(mean: float, low: float, high: float, *, sign: str = "") -> str:
    shown = f"{mean:{sign}.3f}"
    return shown if low != low else f"{shown} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _notes(held: Robustness, baseline: str | None, without: int) -> list[str]:
    """What must be known beside the numbers."""
    from cotrain.analysis import robustness_differences

    seeds = held.values.groupby("label").seed.nunique()
    alone = [label for label in held.labels if seeds[label] == 1]
    notes = ["\nclean and corrupted (mean over corruptions and severities): mean over seeds [95 %, Student's t]."]
    if alone:
        notes.append(f"One seed, and so no interval: {', '.join(alone)}.")
    if baseline is not None:
        notes.append(f"difference: corrupted score less that of {baseline!r}, within seeds. mCE: 1 is as bad as it.")
        differing = set(robustness_differences(held, baseline).label)
        if apart := [label for label in held.labels if label not in (*differing, baseline)]:
            notes.append(f"Without a difference, for they share no seed with {baseline!r}: {', '.join(apart)}.")
    if without:
        notes.append(f"{without} more of these runs are finished, but not evaluated so.")
    return notes


def sheet(options: argparse.Namespace) -> int:
    """Draw a contact sheet of corruptions."""
    from cotrain.analysis import check_picture_path, contact_sheet, save_figure

    check_picture_path(options.out)
    if options.seed < 0:
        raise CotrainError(f"A seed is 0 or larger, found {options.seed}.")
    pixels = _image(options.image, options.size or PRESETS[options.preset])
    frost = None if options.frost_folder is None else _found(options.frost_folder)
    figure = contact_sheet(pixels, preset=options.preset, seed=options.seed, frost_folder=frost)
    save_figure(figure, options.out)
    print(f"picture: {options.out}")
    return 0


def _found(path: Path) -> Path:
    """As named from here, or else from the data folder."""
    return path if path.exists() or path.is_absolute() else data_folder() / path


def _image(path: Path | None, size: int) -> NDArray[np.uint8]:
    """The middle square of a picture, scaled: (size, size, channels)."""
    from cotrain.data import Preparation, channels_of, picture

    if path is None:
        import sklearn.datasets

        path = Path(sklearn.datasets.__file__).parent / "images" / DEFAULT_IMAGE
    path = _found(path)
    # grey pictures are corrupted as grey ones: noise has no colour
    return picture(path, Preparation(channels=channels_of(path), size=size, fit="crop")).transpose(1, 2, 0)
