"""Bring the tables of an older release up to this one: tables and columns are added, nothing is dropped or changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotrain.errors import DatabaseError
from cotrain.tables import configs, connect
from cotrain.tables import version as versions
from cotrain.tables._datajoint import dj

COLUMN = re.compile(r"(?P<name>\w+)\s*(=\s*(?P<default>.*?))?\s*:\s*(?P<type>[^#]+?)\s*(#.*)?")
REFERENCE = re.compile(r"->\s*(?P<nullable>\[nullable\])?\s*(?P<parent>[\w.]+)")


@dataclass(frozen=True)
class Column:
    """One column of a definition; of a foreign key's the type is empty."""

    name: str
    type: str
    in_key: bool
    may_be_missing: bool  # in rows that are there already


@dataclass(frozen=True)
class Missing:
    """A table, or a column of one, that the database lacks or has otherwise."""

    table: Any
    column: Column | None = None
    obstacle: str = ""  # why it cannot be added
    jobs: bool = False  # the queue of the table, not the table itself

    def __str__(self) -> str:
        if self.column is None:
            return f"{'queue of ' if self.jobs else ''}table {self.table.__qualname__}"
        kind = f" : {self.column.type}" if self.column.type else " (a reference)"
        return f"column {self.column.name}{kind} of {self.table.__qualname__}"


def upgrade(*, home: Path | None = None, schema: str | None = None, dry_run: bool = False) -> list[Missing]:
    """Add what is missing, and connect.

    Args:
        home: As for `connect`.
        schema: As for `connect`.
        dry_run: Only look.

    Returns:
        What was, or would be, added.

    Raises:
        DatabaseError: There is no such schema, it is newer, or what is missing cannot be added; nothing is added then.
    """
    settings, connection = connect.attach(home=home, schema=schema)
    with connect.declaring(connection):
        found = versions.look(connection, settings.schema)
        if found.absent:
            raise versions.absent(connection, settings.schema, settings.place)
        if found.version > versions.SCHEMA_VERSION:
            versions.require_present(found, settings.schema)
        connect.bind(connection, settings, declare=False)
        wanted = list(differences(found.tables))
        if obstacles := [f"  {missing}: {missing.obstacle}" for missing in wanted if missing.obstacle]:
            raise DatabaseError(
                f"The schema {settings.schema!r} cannot be upgraded by adding alone, and nothing was added:\n"
                + "\n".join(obstacles)
                + "\nExport its runs with the release that wrote it, or enqueue them in a new schema."
            )
        if not dry_run:
            connect.bind(connection, settings, declare=True)
            for table in dict.fromkeys(missing.table for missing in wanted if missing.column):
                _add_columns(table, [m.column.name for m in wanted if m.table is table and m.column])
            versions.SchemaVersion.record()
    return wanted


def tables() -> Iterator[Any]:
    """Every table class of the schema with its parts, in the order in which they are declared."""
    for table, _ in configs.schema.declare_list:
        yield table
        parts = (getattr(table, name) for name in sorted(dir(table)) if name[0].isupper())
        yield from (part for part in parts if isinstance(part, type) and issubclass(part, dj.Part))


def differences(present: frozenset[str]) -> Iterator[Missing]:
    """What the definitions have and the database, to which the tables are bound, has not, or has otherwise.

    Args:
        present: Names of the tables that are there.
    """
    for table in tables():
        if issubclass(table, dj.Computed) and jobs_table_name(table) not in present:
            yield Missing(table, jobs=True)
        if table.table_name not in present:
            yield Missing(table)
            continue
        held = {attribute.name: attribute for attribute in table().heading.attributes.values()}
        for column in columns(table):
            if column.name not in held:
                yield Missing(table, column, _obstacle(table, column))
            elif column.type and (there := _type(held[column.name])) != column.type:
                yield Missing(table, column, f"its type is {there} there, and types are never changed")


def columns(table: Any) -> list[Column]:
    """The columns of a table's definition; unlike DataJoint's own reading of it this needs no database."""
    found: dict[str, Column] = {}
    for line, in_key in lines(table):
        if reference := REFERENCE.match(line):
            for column in columns(parent(table, reference["parent"])):
                if column.in_key:
                    found.setdefault(column.name, Column(column.name, "", in_key, bool(reference["nullable"])))
        elif told := COLUMN.fullmatch(line):
            found.setdefault(told["name"], Column(told["name"], told["type"], in_key, told["default"] is not None))
    return list(found.values())


def lines(table: Any) -> Iterator[tuple[str, bool]]:
    """The lines of a table's definition, and whether they belong to the primary key."""
    in_key = True
    for line in (line.strip() for line in table.definition.strip().splitlines()):
        in_key &= not line.startswith("---")
        yield line, in_key


def jobs_table_name(table: Any) -> str:
    """What DataJoint calls the queue of a computed table."""
    return f"~~{table.table_name.lstrip('_')}"


def parent(table: Any, name: str) -> Any:
    """The table that a line of a definition refers to by this name."""
    value = table.declaration_context[name.split(".")[0]]
    for part in name.split(".")[1:]:
        if part == "proj":
            raise DatabaseError(f"{table.__qualname__} refers to a projection, which cannot be read here. Report it.")
        value = getattr(value, part)
    return value


def _type(attribute: Any) -> str:
    return str(attribute.original_type or attribute.type)


def _obstacle(table: Any, column: Column) -> str:
    if column.in_key:
        return "it belongs to the primary key"
    if not column.may_be_missing and len(table() & dj.Top(1)):
        return "the table has rows, and there is no value for them"
    return ""


def _add_columns(table: Any, names: list[str]) -> None:
    """With the types, comments, references and indexes that DataJoint would give them in a new table."""
    instance, connection = table(), table.connection
    adapter, full = connection.adapter, instance.full_table_name
    compiled = dj.declare.prepare_declare(
        table.definition, table.declaration_context, adapter, table_name=table.table_name, config=connection._config
    )
    _, _, attributes, references, indexes, _, _, comments = compiled
    quoted = {adapter.quote_identifier(name) for name in names}
    added = [line for line in attributes if line.split()[0] in quoted]
    added += [line for line in references if set(_listed(line)) <= quoted]
    connection.query(f"ALTER TABLE {full} " + ", ".join(f"ADD {line}" for line in added))
    for line in indexes:
        listed = _listed(line)
        if set(listed) <= quoted:
            connection.query(adapter.create_index_ddl(full, [name.strip('`"') for name in listed]))
    for name in names:
        statement = adapter.column_comment_ddl(full, name, comments[name]) if name in comments else None
        if statement:
            connection.query(statement)
    instance._refresh_lineage(table.declaration_context)


def _listed(line: str) -> list[str]:
    """The columns between the first parentheses."""
    return [name.strip() for name in line[line.index("(") + 1 : line.index(")")].split(",")]
