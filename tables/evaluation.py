"""Configs of evaluations, and what the tables of all kinds of them share (docs/evaluations.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from cotrain.config import Config
from cotrain.resolve import read_config
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.runs import TrainedModel


@schema
class Evaluation(dj.Manual):
    """Configs of evaluations."""

    definition = """
    # An evaluation with its config
    evaluation_key : varchar(32)        # Config.key()
    ---
    evaluation_kind : varchar(128)      # public dotted name of the function
    evaluation_config : json            # every field, defaults spelt out
    evaluation_ts = CURRENT_TIMESTAMP : datetime
    """

    @classmethod
    def add(cls, config: Config) -> dict[str, str]:
        """Store a config unless it is there; its primary key."""
        key = {"evaluation_key": config.key()}
        if not (cls() & key):
            row = {**key, "evaluation_kind": config.kind, "evaluation_config": config.record()}
            cls.insert1(row, skip_duplicates=True)
        return key

    @classmethod
    def load(cls, key: dict[str, Any]) -> Config:
        """The config of a row, also of one that an older release wrote."""
        return read_config((cls() & key).fetch1("evaluation_config"), stored=True)


def table_definition(prefix: str, what: str, counted: str, *columns: str) -> str:
    """Of an evaluation's table. Its own columns are called unlike those of other tables, so that all can be joined."""
    lines = (
        f"# {what}",
        "-> TrainedModel",
        "-> Evaluation",
        "---",
        f"{prefix}_count : int32     # {counted}",
        f"{prefix}_seconds : float64 # (s) wall time",
        f"{prefix}_device : varchar(128) # cpu, or the GPU's name",
        *columns,
    )
    return "\n".join(lines) + "\n"


class EvaluationTable(dj.Computed):
    """What the tables share: each row of the part is one object of the list that the function returns.

    `kinds` are public names of functions, `rows` is the name of the part, `shown` the columns that people are shown
    the medians of, within each group of the columns `within`. Where the function returns objects of several classes,
    `by_type` is {name of the class: name of its part} of those that have a part of their own. The table's own columns
    begin with `prefix`; after it, some are named as the fields `kept` of the config, whose values they hold.

    Of a table `by_epoch` the config has a field `epochs` (`cotrain.evaluations.Epochs`), and the function is called
    once for the model after each epoch that it names. Rows of the part then have the column `epoch : int32` in their
    key: the weights are those after so many epochs, 0 as initialised. Such a table has no `steps`.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    prefix: ClassVar[str] = ""
    rows: ClassVar[str] = ""
    by_type: ClassVar[Mapping[str, str]] = {}
    within: ClassVar[tuple[str, ...]] = ()
    shown: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[tuple[str, ...]] = ()
    by_epoch: ClassVar[bool] = False

    @property
    def key_source(self) -> Any:
        """Finished runs, each with the configs of these kinds."""
        configs = Evaluation() & [{"evaluation_kind": kind} for kind in self.kinds]
        return TrainedModel().proj() * configs.proj()

    @classmethod
    def part(cls, name: str = "") -> Any:
        """The table of its rows, or another part by its name."""
        return getattr(cls, name or cls.rows)

    @classmethod
    def parts(cls) -> list[Any]:
        """The tables of all its rows."""
        return [cls.part(name) for name in (cls.rows, *cls.by_type.values())]

    @classmethod
    def facts(cls, config: Config) -> dict[str, Any]:
        """What the table's own columns hold beside count, seconds and device."""
        return {f"{cls.prefix}_{name}": getattr(config, name) for name in cls.kept}

    @classmethod
    def steps(cls, config: Config) -> int | None:  # noqa: ARG003
        """How many conditions an evaluation goes through that can be interrupted after each; None: it is all one."""
        return None

    # Three parts: no transaction is open while it computes.
    def make_fetch(self, key: dict[str, Any], *, home: str) -> tuple[dict[str, Any], str, str]:
        """What is to be computed. Called again before the insert: it must then be the same."""
        info = (TrainedModel() & key).fetch1("data_info")
        return Evaluation.load(key).record(), info["fingerprint"], home

    def make_compute(self, key: dict[str, Any], config: dict[str, Any], fingerprint: str, home: str) -> tuple[Any]:
        """Load model and data, and call the function."""
        from cotrain.tables.evaluate import computed

        return (computed(key, read_config(config, stored=True), fingerprint, home),)

    def make_insert(self, key: dict[str, Any], result: dict[str, Any]) -> None:
        """Store what came of it."""
        parts = result.pop("parts")
        self.insert1({**key, **result})
        for name, rows in parts.items():
            self.part(name).insert({**key, **row} for row in rows)
