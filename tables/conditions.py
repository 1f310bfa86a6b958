"""Conditions as people write them: `optimiser.lr>=1e-3` of a config, `v4 correlation > 0.4` of a score."""

from __future__ import annotations

import contextlib
import math
import operator
import re
from dataclasses import dataclass
from typing import Any

from cotrain.errors import ConfigError
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import leaf_columns

SIGNS = {"=": "=", "==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_SIGN = "<=|>=|!=|==|=|<|>"
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Condition:
    """A condition on one value of a config.

    Args:
        path: As `cotrain.tables.configs.leaves` has them, or the end of such a path.
        sign: One of `SIGNS`; the order of text is not asked for.
        value: A number, text, a bool or None.

    Raises:
        ConfigError: The order of something that is no finite number is asked for.
    """

    path: str
    sign: str
    value: Any

    def __post_init__(self) -> None:
        if self.sign not in ("=", "==", "!=") and leaf_columns(self.value)["num"] is None:
            raise ConfigError(f"{self.path}{self.sign}{self.value}: only numbers have an order; use = or != with text.")

    def restriction(self) -> Any:
        """What a row of `Attr` must fulfil."""
        number, text = leaf_columns(self.value).values()
        if SIGNS[self.sign] == "<>":
            return f"num IS NULL OR num <> {number!r}" if number is not None else dj.Not({"txt": text})
        return {"txt": text} if number is None else f"num {SIGNS[self.sign]} {number!r}"

    def holds(self, number: float | None, text: str) -> bool:
        """Whether a value, as a row of `Attr` has it, fulfils it."""
        wanted, wanted_text = leaf_columns(self.value).values()
        if SIGNS[self.sign] in ("=", "<>"):
            same: bool = text == wanted_text if wanted is None else number == wanted
            return same == (SIGNS[self.sign] == "=")
        return number is not None and bool(_COMPARE[self.sign](number, wanted))


@dataclass(frozen=True)
class ScoreCondition:
    """A condition on a score of a run's best epoch; a task or session of None is any, session "" all together."""

    split: str
    task: str | None
    session: str | None
    metric: str
    sign: str
    value: float

    def columns(self) -> dict[str, str]:
        """The columns of `TrainedModel.Score` that it fixes."""
        named = {"split": self.split, "task": self.task, "session": self.session, "metric": self.metric}
        return {column: text for column, text in named.items() if text is not None}

    def restriction(self) -> Any:
        """What a row of `TrainedModel.Score` must fulfil."""
        return dj.AndList([self.columns(), f"value {SIGNS[self.sign]} {self.value!r}"])


def parse_condition(text: str) -> Condition:
    """`lr=1e-3`, `epochs>=20`, `data.path!=a.npz`; numbers, true, false and null are read as such, the rest is text.

    Raises:
        ConfigError: It is no such condition.
    """
    found = re.fullmatch(rf"\s*([^\s<>=!]+)\s*({_SIGN})(.*)", text, re.DOTALL)
    if not found:
        raise ConfigError(
            f"--where needs PATH=VALUE, for example optimiser.lr=1e-3; found {text!r}. Besides = there are "
            "!=, <, <=, > and >=."
        )
    return Condition(found[1], found[2], _value(found[3].strip()))


def parse_score(text: str) -> ScoreCondition:
    """`v4 correlation > 0.4`, `accuracy>=0.9` (any task), `validation: v4/session1 correlation > 0.4`.

    Without a split it is of the test split, without a session of all sessions together.

    Raises:
        ConfigError: It is no such condition.
    """
    split, colon, rest = text.partition(":")
    if not colon or split.strip() not in SPLITS:
        split, rest = "test", text
    found = re.fullmatch(rf"\s*(?:([^\s/]*)(?:/(\S+))?\s+)?([^\s<>=!]+)\s*({_SIGN})\s*(\S+)\s*", rest)
    value = _value(found[5]) if found else None
    if not found or isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(
            f"--score needs [SPLIT:] [TASK[/SESSION]] METRIC > NUMBER, for example 'v4 correlation > 0.4' or "
            f"'validation: accuracy >= 0.9'; found {text!r}."
        )
    return ScoreCondition(split.strip(), found[1], found[2] or "", found[3], found[4], float(value))


def _value(text: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False, "null": None}.get(text, text)
