"""The command that draws how separable moved and turned images are in layers: `plot smooth-manifolds`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cotrain.cli._connected import database
from cotrain.cli._plot_manifolds import NAMES, add_choice, notes, with_interval
from cotrain.cli._text import as_columns

if TYPE_CHECKING:
    import pandas as pd

    from cotrain.analysis import ManifoldRuns


def add_smooth_manifolds(group: Any) -> None:
    """Add the command to the group `plot`."""
    added = group.add(
        "smooth-manifolds",
        smooth_manifolds,
        "draw capacity of moved, scaled, sheared and turned images by layer, trained and untrained",
        "--recipe cifar_manifolds --out smooth.pdf",
        "'objects only' --target objects --evaluation 3fa9 --out smooth.svg",
    )
    add_choice(added, "images")


def smooth_manifolds(options: argparse.Namespace) -> int:
    """Draw what the database holds of smooth manifolds, and print it."""
    from cotrain.analysis import check_picture_path, manifold_runs, save_figure, smooth_manifolds_figure

    check_picture_path(options.out)
    with database():
        from cotrain.tables.manifolds import measured_smooth_manifolds

        found = measured_smooth_manifolds(options.runs, recipe=options.recipe, evaluation=options.evaluation)
    held = manifold_runs(found.rows, target=options.target, session=options.session, labels=found.labels)
    session = f", session {held.session}" * bool(held.session)
    title = f"Smooth manifolds of {held.target}{session} ({found.described})"
    figure = smooth_manifolds_figure(held, title=title)
    print(f"{title}\n")
    print(as_columns(_table(held)))
    for note in notes(held, found.without, "images", "points"):
        print(note)
    save_figure(figure, options.out)
    print(f"\npicture: {options.out}")
    return 0


def _table(held: ManifoldRuns) -> pd.DataFrame:
    """A row a label, family, displacement, epoch and layer."""
    import pandas as pd

    from cotrain.analysis import ManifoldRuns, manifold_summary

    chosen = held.rows[held.rows.stage != ""]
    shown = ManifoldRuns(held.target, held.session, held.labels, chosen)
    by = ("family", "displacement", "stage", "layer_place", "layer")
    rows: dict[tuple[str, ...], dict[str, object]] = {}
    for row in manifold_summary(shown, by).to_dict("records"):
        name = ", ".join(part for part in (row["label"], "epoch 0" * (row["stage"] == "initial")) if part)
        family = f"{row['family']} {row['displacement']:g} px"
        cells = rows.setdefault(
            (name, family, row["layer"]), {"family": family, "layer": row["layer"], "seeds": row["seeds"]}
        )
        cells[NAMES[row["measure"]]] = with_interval(row["mean"], row["low"], row["high"])
        if row["measure"] == "mean_capacity":
            cells["noise"] = f"{row['floor']:.3f}"
    return pd.DataFrame(list(rows.values()), index=[name for name, *_ in rows])
