"""The command that draws RDMs of a run's layers beside what they are compared with: `plot rdm`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.cli._connected import database
from cotrain.cli._evaluate import read_suite
from cotrain.cli._text import as_columns
from cotrain.errors import DatabaseError

if TYPE_CHECKING:
    import pandas as pd

    from cotrain.evaluations import RsaPicture, RsaScore


def add_rdm(group: Any) -> None:
    """Add the command to the group `plot`."""
    added = group.add(
        "rdm",
        rdm,
        "draw the RDM of a layer of a finished run, that of a recording or task, and how they differ",
        "a2493a00 --layer layer3 --target it_rdm --out rdm.pdf",
        "a2493a00 --layer 'layer4*' --target cells/210325 --order cluster --bars layers.pdf --out rdm.png",
        "a2493a00 --layer layer3 --config images92.yaml --target human_it --bars layers.svg --out rdm.svg",
    )
    added.add_argument("run", metavar="RUN", help="key (or its beginning) of a run, or a label that one run has")
    layer = (
        "module path in the backbone, a pattern that one layer has, or depth:0.5; `--bars` shows which blocks there are"
    )
    added.add_argument("--layer", required=True, metavar="LAYER", help=layer)
    target = (
        "RDM or neural task, TASK or TASK/SESSION, or the name of a file of --config; needed where there are several"
    )
    added.add_argument("--target", metavar="TARGET", help=target)
    fields = (
        "YAML with fields of the suite rsa (`cotrain show cotrain.evaluations.rsa`): the first of its dissimilarities "
        "and comparisons is drawn; files are further targets; layers are those of --bars"
    )
    added.add_argument("--config", type=Path, metavar="FILE", help=fields)
    bands = "classification whose classes are drawn as bands (default: the only one that labels all stimuli)"
    added.add_argument("--categories", default="", metavar="TASK", help=bands)
    order = "of stimuli: category (default; as given where there are none), given, or cluster: like ones together"
    added.add_argument("--order", choices=("category", "given", "cluster"), default="category", help=order)
    scale = "of colours: percentile of each RDM's pairs (default), or shared: in units of the dissimilarity"
    added.add_argument("--scale", choices=("percentile", "shared"), default="percentile", help=scale)
    bars = "also draw how alike each layer is to the target, with standard errors and the noise ceiling"
    added.add_argument("--bars", type=Path, metavar="FILE", help=bars)
    added.add_argument("--out", type=Path, required=True, metavar="FILE", help="the picture: .png, .pdf or .svg")


def rdm(options: argparse.Namespace) -> int:
    """Compute and draw both RDMs, and print how alike layers are."""
    from cotrain.analysis import ceiling_bars_figure, check_picture_path, rdm_difference_figure, save_figure
    from cotrain.evaluations import rsa_picture

    for path in filter(None, (options.out, options.bars)):
        check_picture_path(path)
    config: Any = read_suite("rsa", options.config)
    with database():
        from cotrain.tables import evaluate, queries

        keys = queries.find_runs(options.run)
        if len(keys) > 1:
            known = ", ".join(sorted(key["run_key"][:8] for key in keys))
            raise DatabaseError(
                f"One run is drawn, and {options.run!r} means {len(keys)}: {known}. Name one by its key."
            )
        model, data, device = evaluate.restored(keys[0])
    if options.bars is None:  # no other layer is looked at then
        config = config.replace(layers=(options.layer,))
    drawn = rsa_picture(
        model, data, config, layer=options.layer, device=device, target=options.target, categories=options.categories
    )
    table = _table(drawn.scores)
    title = f"{drawn.layer} and {drawn.target}: {_how(drawn)}"
    print(f"{title}\n")
    print(as_columns(_shown(table)))
    for note in _notes(drawn.scores, config.over):
        print(note)
    figure = rdm_difference_figure(
        drawn.target_rdm, drawn.model_rdm, names=(drawn.target, drawn.layer), categories=drawn.categories,
        icons=drawn.icons, order=options.order, scale=options.scale, title=title,
    )  # fmt: skip
    save_figure(figure, options.out)
    print(f"\npicture: {options.out}")
    if options.bars is not None:
        save_figure(ceiling_bars_figure(table, title=f"layers and {drawn.target}"), options.bars)
        print(f"picture: {options.bars}")
    return 0


def _how(drawn: RsaPicture) -> str:
    first = drawn.scores[0]
    return f"{first.dissimilarity} RDMs of {first.stimuli} stimuli, {first.comparison}".replace("_", " ")


def _table(scores: tuple[RsaScore, ...]) -> pd.DataFrame:
    """As `ceiling_bars_figure` takes it."""
    from dataclasses import asdict

    import pandas as pd

    return pd.DataFrame([asdict(score) for score in scores]).rename(columns={"comparison": "method"})


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    shown = table[["layer", "similarity", "low", "high", "ceiling_lower", "ceiling_upper"]].set_index("layer")
    known = shown.columns[shown.notna().any()]
    return shown[known].rename_axis(index=None)


def _notes(scores: tuple[RsaScore, ...], over: str) -> list[str]:
    """What must be known beside the numbers."""
    first = scores[0]
    notes = []
    if first.low == first.low:
        drawn = "stimuli and subjects" if over == "both" and first.subjects > 1 else "stimuli"
        notes.append(f"\nlow, high: 95 %, bootstrap over {drawn}.")
    if first.ceiling_of == "subjects":
        notes.append(f"ceiling: what the best model reaches, of {first.subjects} subjects; similarity is their mean.")
    elif first.ceiling_of == "repeats":
        notes.append("ceiling: half of the repeats with the other half; all of them, by Spearman and Brown.")
    else:
        notes.append("No noise ceiling: neither subjects nor repeats of the target tell one by this comparison.")
    return notes
