"""Tables of data, model and trainer configs: each config once, with a row a value to search by.

Importing this asks no server; `cotrain.tables.connect` binds the schema.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from cotrain.config import Config, content_key
from cotrain.errors import DatabaseError
from cotrain.resolve import read_config
from cotrain.tables._datajoint import dj

schema = dj.Schema()

PATH_LENGTH = 190  # characters of an index that MySQL takes


class _ConfigTable(dj.Manual):
    """What the three tables share. Keys are those of `Config.key`.

    Fields `gathered` are in no key, and say what else a run is to leave behind: runs to come leave what any recipe with
    this config asked for, so that what is enqueued later takes nothing from what waits, and is not in vain.
    """

    part: str = ""
    gathered: tuple[str, ...] = ()

    @classmethod
    def add(cls, config: Config) -> dict[str, str]:
        """Store a config unless it is there; its primary key. One that is there gets what is new in `gathered`.

        Raises:
            DatabaseError: Another config has this key (a fault that must never pass in silence).
        """
        key = {f"{cls.part}_key": config.key()}
        if not (cls() & key):
            record = config.record()
            connection = cls.connection
            # DataJoint refuses a transaction inside another
            with nullcontext() if connection.in_transaction else connection.transaction:
                row = {**key, f"{cls.part}_kind": config.kind, f"{cls.part}_config": record}
                cls.insert1(row, skip_duplicates=True)
                cls.Attr.insert(
                    ({**key, "path": path, "num": number, "txt": text} for path, number, text in leaves(record)),
                    skip_duplicates=True,
                )
            return key
        held = cls.load(key)
        if held.identity() != config.identity():
            raise DatabaseError(f"{cls.__name__} {config.key()} holds another config than {config!r}. Report this.")
        for name in cls.gathered:
            there = getattr(held, name, ())  # a lab's own config has none
            if new := sorted(set(getattr(config, name, ())).difference(there)):
                cls._renew(key, held.replace(**{name: (*there, *new)}).record())
        return key

    @classmethod
    def _renew(cls, key: dict[str, str], record: dict[str, Any]) -> None:
        """Replace the record of a config whose identity stays."""
        with nullcontext() if cls.connection.in_transaction else cls.connection.transaction:
            cls.update1({**key, f"{cls.part}_config": record})
            held = {row["path"]: row for row in (cls.Attr() & key).to_dicts()}
            rows = {path: {**key, "path": path, "num": number, "txt": text} for path, number, text in leaves(record)}
            for path in held.keys() - rows.keys():
                (cls.Attr() & key & {"path": path}).delete_quick()
            for path, row in rows.items():
                if held.get(path, row) != row:
                    cls.Attr.update1(row)
            cls.Attr.insert((rows[path] for path in rows.keys() - held.keys()), skip_duplicates=True)

    @classmethod
    def load(cls, key: dict[str, Any]) -> Config:
        """The config of a row, also of one that an older release wrote."""
        record = (cls() & key).fetch1(f"{cls.part}_config")
        return read_config(record, stored=True)

    @classmethod
    def where(cls, **values: Any) -> Any:
        """The rows whose config holds these values: `Trainer.where(**{"optimiser.lr": 1e-3})`.

        Paths are those of `leaves`, or ends of them (`lr`); a number matches whole numbers and floats alike. A config
        that was stored before one of its fields existed has the value that means the same.
        """
        from cotrain.tables.paths import having

        found = cls()
        for path, value in values.items():
            found = found & having(cls, path, value)
        return found


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, float | None, str]]:
    """Yield (path, number or None, text) of every value in a config record.

    Paths read as people would write them: `optimiser.lr`. Items of a list go by their `name` or `task`, or by the
    first value of a pair, where these tell them apart (`tasks.v4.tap`, `mixing.ratios@1.v4` from epoch 1), else by
    position (`layers[0][1]`). A list without items is the text `[]`.
    """
    if isinstance(value, dict):
        for name, held in value.items():
            yield from leaves(held, f"{path}.{name}" if path else name)
    elif isinstance(value, (list, tuple)) and value:
        names = [_item_name(item, position) for position, item in enumerate(value)]
        if len({name.casefold() for name in names}) < len(names):  # MySQL tells no V4 from v4
            names = [f"[{position}]" for position in range(len(value))]
        for name, item in zip(names, value, strict=True):
            pair = isinstance(item, (list, tuple)) and name[0] in ".@"
            yield from leaves(item[1] if pair else item, path + name)
    else:
        columns = leaf_columns("[]" if isinstance(value, (list, tuple)) else value)
        if len(path) > PATH_LENGTH:
            path = f"{path[: PATH_LENGTH - 17]}~{content_key('cotrain-path/1', path)[:16]}"
        yield path, columns["num"], columns["txt"]


def _item_name(item: Any, position: int) -> str:
    if isinstance(item, dict):
        for field in ("name", "task"):
            if _is_name(item.get(field)):
                return f".{item[field]}"
    elif isinstance(item, (list, tuple)) and len(item) == 2 and _is_name(item[0]):
        return f".{item[0]}"
    elif isinstance(item, (list, tuple)) and len(item) == 2 and type(item[0]) is int and isinstance(item[1], list):
        return f"@{item[0]}"
    return f"[{position}]"


def _is_name(value: Any) -> bool:
    """Whether a value can be a step of a path: with a dot in it, two values could have one path."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]+", value) is not None


def leaf_columns(value: Any) -> dict[str, Any]:
    """How one value stands in a row of `Attr`."""
    if isinstance(value, bool) or value is None:
        return {"num": None, "txt": {True: "true", False: "false", None: "null"}[value]}
    if isinstance(value, (int, float)) and -sys.float_info.max <= value <= sys.float_info.max:
        return {"num": float(value), "txt": repr(value)[:255]}
    return {"num": None, "txt": str(value)[:255]}  # also what no column holds: infinity, and NaN


def _config_definition(part: str) -> str:
    return f"""
    # A {part} builder with its config
    {part}_key : varchar(32)            # Config.key(): equal configs, and only they, share it
    ---
    {part}_kind : varchar(128)          # public dotted name of the builder
    {part}_config : json                # every field, defaults spelt out
    {part}_ts = CURRENT_TIMESTAMP : datetime
    """


_ATTR_DEFINITION = """
    # One value of a config
    -> master
    path : varchar(190)                 # e.g. optimiser.lr or tasks.v4.tap, see leaves()
    ---
    num = null : float64                # the value, where it is a number
    txt : varchar(255)                  # the value as text
    INDEX (path, num)
    """


@schema
class Dataset(_ConfigTable):
    """Configs of data builders."""

    part = "dataset"
    definition = _config_definition(part)

    class Attr(dj.Part):
        """Values of a config, to search by."""

        definition = _ATTR_DEFINITION


@schema
class Model(_ConfigTable):
    """Configs of model builders."""

    part = "model"
    definition = _config_definition(part)

    class Attr(dj.Part):
        """Values of a config, to search by."""

        definition = _ATTR_DEFINITION


@schema
class Trainer(_ConfigTable):
    """Configs of trainer builders."""

    part = "trainer"
    gathered = ("keep_epochs",)
    definition = _config_definition(part)

    class Attr(dj.Part):
        """Values of a config, to search by."""

        definition = _ATTR_DEFINITION
