"""Which values the stored configs have, also those that an older release did not write.

A field that was added to a config class later is missing in the rows of older configs: there it has its neutral value
(`cotrain.config.AddedLater`), and a search for this value must find them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from cotrain._fields import AddedLater, find_mark
from cotrain.config import Config
from cotrain.errors import CotrainError
from cotrain.resolve import config_class
from cotrain.tables._datajoint import dj
from cotrain.tables._frames import frame
from cotrain.tables.conditions import Condition
from cotrain.tables.configs import leaves


def stored_paths(table: Any) -> list[str]:
    """All paths that rows of `table.Attr` have."""
    name = table.Attr.full_table_name
    # jumps from one path to the next along the index: what all rows share is read once
    sql = f"""WITH RECURSIVE found AS (
        SELECT MIN(path) AS path FROM {name}
        UNION ALL SELECT (SELECT MIN(path) FROM {name} WHERE path > found.path) FROM found WHERE found.path IS NOT NULL
    ) SELECT path FROM found WHERE path IS NOT NULL"""
    return [row[0] for row in table.connection.query(sql).fetchall()]


def meant_paths(places: Sequence[tuple[Any, str]]) -> list[tuple[Any, str]]:
    """The whole paths that are meant in some tables, given as (table, path).

    They are the paths themselves where some config has them, else all that end so: `lr` is `optimiser.lr`.
    """
    known = {table: stored_paths(table) for table, _ in places}
    # what no config has may be a field that is younger than all of them
    for paths in (known.get, lambda table: list(_later_paths(table, known[table]))):
        held = {table: paths(table) or [] for table, _ in places}
        if exact := [(table, path) for table, path in places if path in held[table]]:
            return exact
        if ends := [(table, whole) for table, path in places for whole in held[table] if whole.endswith(f".{path}")]:
            return ends
    return []


def having(table: Any, path: str, value: Any, sign: str = "=") -> list[Any]:
    """Queries whose rows, together, are the configs with such a value: `table() & having(table, "lr", 1e-3, ">=")`."""
    condition = Condition(path, sign, value)
    return [query for _, whole in meant_paths([(table, path)]) for query in rows_where(table, whole, condition)]


def rows_where(table: Any, path: str, condition: Condition) -> list[Any]:
    """Queries whose rows, together, are the configs with a value at `path` (a whole one) that fulfils a condition."""
    found = [(table.Attr() & {"path": path} & condition.restriction()).proj()]
    return found + [old for number, text, old in _rows_without(table, path) if condition.holds(number, text)]


def values_at(table: Any, path: str) -> dict[str, str]:
    """{key of a config: its value at `path`, as text}."""
    rows = frame(table.Attr() & {"path": path}, table.primary_key[0], "txt")
    found: dict[str, str] = dict(zip(rows[table.primary_key[0]], rows.txt, strict=True))
    for _, text, old in _rows_without(table, path):
        found.update((row[table.primary_key[0]], text) for row in old.to_dicts())
    return found


def _rows_without(table: Any, path: str) -> Iterator[tuple[float | None, str, Any]]:
    """(neutral number, neutral text, keys of configs) of those that lack `path`, since it is younger than they are."""
    if not (table() - (table.Attr() & {"path": path}).proj()):
        return
    for owner, field in _owners(path):
        whole = f"{owner}.{field}" if owner else field
        # "_" is any character for LIKE, which alone uses the index
        after = f"SUBSTR(path, {len(whole) + 1}, 1) IN ('', '.', '[', '@')"
        begins = f"SUBSTR(path, 1, {len(whole)}) = '{whole}' AND {after}"
        lacking = (table() - (table.Attr() & f"path LIKE '{whole}%'" & begins).proj()).proj()
        kind = {"path": f"{owner}.kind" if owner else "kind"}
        for name in [row["txt"] for row in (dj.U("txt") & (table.Attr() & kind & lacking)).to_dicts()]:
            for rest, number, text in _neutral_leaves(name, field):
                if (f"{owner}.{rest}" if owner else rest) == path:
                    yield number, text, lacking & (table.Attr() & {**kind, "txt": name}).proj()


def _owners(path: str) -> Iterator[tuple[str, str]]:
    """(path of a config, name of its field) of all the configs that a value may belong to."""
    for found in re.finditer(r"(?:^|\.)([A-Za-z_]\w*)(?=[.\[@]|$)", path):
        if found[1] != "kind":
            yield path[: found.start()], found[1]


def _later_paths(table: Any, known: list[str]) -> Iterator[str]:
    kinds = [{"path": path} for path in known if path == "kind" or path.endswith(".kind")]
    for row in (dj.U("path", "txt") & (table.Attr() & kinds)).to_dicts():
        for field in _later_fields(row["txt"]):
            for rest, _, _ in _neutral_leaves(row["txt"], field):
                yield row["path"].removesuffix("kind") + rest


def _neutral_leaves(kind: str, field: str) -> Iterator[tuple[str, float | None, str]]:
    later = _later_fields(kind)
    return leaves(later[field], field) if field in later else iter(())


@functools.cache
def _later_fields(kind: str) -> dict[str, Any]:
    """{field that the first release of a config class lacked: its neutral value}."""
    try:
        fields = config_class(kind).model_fields.items()
    except CotrainError:  # of a package that is not there, or not allowed here
        return {}
    marks = {name: find_mark(field.metadata, AddedLater) for name, field in fields}
    return {name: _record(mark.neutral) for name, mark in marks.items() if mark is not None}


def _record(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_record(held) for held in value]
    return value.record() if isinstance(value, Config) else value
