"""The version of the schema: recorded when tables are made, compared whenever someone connects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cotrain
from cotrain.errors import DatabaseError, did_you_mean
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema

SCHEMA_VERSION = 3  # one more with each release that adds a table or a column


@schema
class SchemaVersion(dj.Manual):
    """The versions that this schema has had; the largest is its present one."""

    definition = """
    # A version of the schema
    schema_version : int32
    ---
    written_by : varchar(32)            # release of cotrain that brought it
    version_ts = CURRENT_TIMESTAMP : datetime
    """

    @classmethod
    def record(cls) -> None:
        """The schema is as this release wants it."""
        row = {"schema_version": SCHEMA_VERSION, "written_by": cotrain.__version__}
        cls.insert1(row, skip_duplicates=True)


@dataclass(frozen=True)
class Found:
    """What a server has under a schema's name; version 0 are tables of a time before versions."""

    tables: frozenset[str]
    version: int
    written_by: str

    @property
    def absent(self) -> bool:
        """Whether there are no tables at all."""
        return not self.tables


def look(connection: Any, name: str) -> Found:
    """What is there; makes nothing."""
    asked = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
    tables = frozenset(row[0] for row in connection.query(asked, args=(name,)))
    if SchemaVersion.table_name not in tables:
        return Found(tables, 0, "")
    full = connection.adapter.make_full_table_name(name, SchemaVersion.table_name)
    newest = connection.query(f"SELECT schema_version, written_by FROM {full} ORDER BY 1 DESC LIMIT 1").fetchone()
    return Found(tables, *(newest or (0, "")))


def require_present(found: Found, name: str) -> None:
    """Refuse a schema that is newer or older than what this release of cotrain works with."""
    if found.version > SCHEMA_VERSION:
        raise DatabaseError(
            f"The schema {name!r} was written by cotrain {found.written_by} and has version {found.version}; this is "
            f"cotrain {cotrain.__version__}, which knows version {SCHEMA_VERSION}. Update cotrain here."
        )
    if found.version < SCHEMA_VERSION:
        raise DatabaseError(
            f"The schema {name!r} has version {found.version}, and cotrain {cotrain.__version__} needs version "
            f"{SCHEMA_VERSION}. `cotrain db upgrade --dry-run` says what is missing, `cotrain db upgrade` adds it."
        )


def absent(connection: Any, name: str, place: str) -> DatabaseError:
    """That there is no such schema, with those that could be meant."""
    asked = "SELECT table_schema FROM information_schema.tables WHERE table_name = %s"
    others = sorted({row[0] for row in connection.query(asked, args=("__trained_model",))})
    meant = did_you_mean(name, others) if others else ""
    return DatabaseError(
        f"There is no schema {name!r} with cotrain's tables at {place}, or this account may not see it.{meant} "
        "COTRAIN_SCHEMA names another one; `cotrain db init` makes it."
    )
