"""Choosing among the rows of an evaluation: one task, metric or session; some experiments, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cotrain.errors import CotrainError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


def with_labels(rows: pd.DataFrame, labels: Sequence[str] | None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows of these experiments, and their labels in the order in which they are shown; None: all.

    Raises:
        CotrainError: No experiment has one of the labels.
    """
    known = list(dict.fromkeys(rows.label))
    for label in labels or ():
        if label not in known:
            raise CotrainError(f"No evaluated run has the label {label!r}.{did_you_mean(label, known)}")
    shown = tuple(dict.fromkeys(known if labels is None else labels))
    return rows[rows.label.isin(shown)], shown


def by_label(rows: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Rows in the order of their labels, those of one label in the order that they have."""
    place = {label: number for number, label in enumerate(labels)}
    return rows.sort_values("label", key=lambda column: column.map(place), kind="stable")


def only_one(what: str, wanted: str | None, known: list[str], where: str = "") -> str:
    """What is wanted of what is known, or else the only one.

    Raises:
        CotrainError: It is not known, or nothing is wanted and several are known.
    """
    if wanted is None:
        if len(known) > 1:
            raise CotrainError(f"There are several {what}s: {', '.join(sorted(known))}. Say which {what} is meant.")
        return known[0]
    if wanted not in known:
        raise CotrainError(f"There is no {what} {wanted!r}{where}.{did_you_mean(wanted, known)}")
    return wanted
