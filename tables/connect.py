"""Connect to the lab's database: the embedded one, or the server that the settings name."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cotrain.errors import DatabaseError
from cotrain.settings import home_folder
from cotrain.tables import configs, evaluations, kept_weights, runs, tags  # noqa: F401 each declares its tables
from cotrain.tables import version as versions
from cotrain.tables._datajoint import dj
from cotrain.tables.embedded import EmbeddedPostgres
from cotrain.tables.server import Connection, open_connection, quiet, rights_told
from cotrain.tables.settings import DatabaseSettings, database_settings

log = logging.getLogger(__name__)

ROOTS_DATABASES = Path("/var/lib/cotrain")
DECLARATION_LOCK = 706_173  # any number that no other program on the server uses
OWN_STORE = {"protocol": "file", "location": ""}  # of the home that was connected last; a store that is set goes before


def embedded(home: Path | None = None) -> EmbeddedPostgres:
    """The embedded database of a home folder, in `database` there.

    Root's PostgreSQL runs as another user, who may not be able to enter the home, for example below /root. Then
    `database` is a link to a folder under /var/lib/cotrain, and nothing is opened to others.
    """
    place = (home or home_folder()).resolve() / "database"
    database = EmbeddedPostgres(place)
    if os.geteuid() == 0 and not (place.exists() or place.is_symlink()) and database.closed_to_server():
        elsewhere = ROOTS_DATABASES / secrets.token_hex(8)
        for folder in (ROOTS_DATABASES, place.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another process was faster
            place.symlink_to(elsewhere)
        database = EmbeddedPostgres(place)
    return database


def connect(*, home: Path | None = None, schema: str | None = None, create: bool | None = None) -> bool:
    """Connect to the database that the settings name (`cotrain.tables.settings`), else to the embedded one.

    The embedded server is started where it does not run. Once the schema is there, connecting makes and changes
    nothing in it, so that accounts without the right to do so can work.

    Args:
        home: Folder of runs, checkpoints and the embedded database; default: the setting (`cotrain.settings`).
        schema: Name of the schema; default: the setting, else `cotrain`.
        create: Whether to make a schema that is not there; default: in the embedded database alone.

    Returns:
        Whether the schema was made just now.

    Raises:
        DatabaseUnavailableError: No database answers there.
        DatabaseError: It refuses, or the schema is not there, or of another version.
    """
    settings, connection = attach(home=home, schema=schema)
    found = versions.look(connection, settings.schema)
    if found.absent and (create or (create is None and settings.embedded)):
        return make(connection, settings)
    if found.absent:
        raise versions.absent(connection, settings.schema, settings.place)
    if found.version < versions.SCHEMA_VERSION:
        with declaring(connection):  # another process may be making or upgrading it at this moment
            found = versions.look(connection, settings.schema)
    versions.require_present(found, settings.schema)
    bind(connection, settings, declare=False)
    return False


def attach(*, home: Path | None = None, schema: str | None = None) -> tuple[DatabaseSettings, Connection]:
    """A new connection, with no regard to what is in the database."""
    settings = database_settings(schema=schema)
    folder = (home or home_folder()).resolve()
    disconnect()
    if not settings.host:
        server = embedded(folder).start()
        settings = replace(
            settings,
            backend="postgresql",
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            name=server.database,
            embedded=True,
            tls="off",  # loopback; the embedded server has none
        )
    _set_up(folder, settings)
    connection = open_connection(settings)
    dj.instance._singleton_connection = connection  # of `dj.conn()`
    return settings, connection


def make(connection: Connection, settings: DatabaseSettings) -> bool:
    """Make the schema with all its tables, unless another process has done so meanwhile."""
    with declaring(connection):
        found = versions.look(connection, settings.schema)
        bind(connection, settings, declare=found.absent)
        if found.absent:
            versions.SchemaVersion.record()
        else:
            versions.require_present(found, settings.schema)
    return found.absent


def bind(connection: Connection, settings: DatabaseSettings, *, declare: bool) -> None:
    """Lead the table classes to this schema; with `declare` its missing tables are made."""
    classes = [table for table, _ in configs.schema.declare_list]
    computed = [table for table in classes if issubclass(table, dj.Computed)]
    # bound anew: DataJoint would keep to the connection, and the schema, of an earlier call
    configs.schema.database = None
    for table in computed:
        table._jobs = None
    try:
        with quiet(), rights_told(settings):
            configs.schema.activate(
                settings.schema, connection=connection, create_schema=declare, create_tables=declare
            )
            if declare:  # made at their first use otherwise, and two workers that do so at once collide
                assert all(table.jobs is not None for table in computed)
    except dj.DataJointError as error:
        raise DatabaseError(
            f"The database refuses to make or to open the schema {settings.schema!r}: {error}"
        ) from None


def disconnect() -> None:
    """Close the connection, so that the embedded database can stop."""
    # a second close would be an error with MySQL
    if configs.schema.is_activated() and configs.schema.connection.is_connected:
        configs.schema.connection.close()


def connect_again(connection: Connection) -> None:
    """Connect anew after the connection was lost; an embedded database that has ended is started."""
    connection.settings = _present(connection.settings)
    connection.conn_info |= {
        "host": connection.settings.host,
        "port": connection.settings.port,
        "passwd": connection.settings.password,
    }
    with contextlib.suppress(Exception):
        connection.close()
    connection._in_transaction = False  # it ended with the old connection
    with quiet():
        connection.connect()


def second_connection() -> Connection:
    """A connection of its own to the same database, for another thread."""
    return open_connection(_present(configs.schema.connection.settings))


def _present(settings: DatabaseSettings) -> DatabaseSettings:
    """The settings as they are now: an embedded database may have been started anew, and is started here."""
    if not settings.embedded:
        return settings
    server = embedded(Path(OWN_STORE["location"]).parent).start()
    return replace(settings, host=server.host, port=server.port, password=server.password)


def _set_up(home: Path, settings: DatabaseSettings) -> None:
    # what DataJoint's own tools in this process will use
    for setting in ("backend", "host", "port", "user", "password"):
        dj.config[f"database.{setting}"] = getattr(settings, setting)
    store = home / "store"
    store.mkdir(parents=True, exist_ok=True)
    dj.config["safemode"] = False
    dj.config["loglevel"] = "WARNING"
    logging.getLogger("datajoint").addFilter(_not_of_populate)
    dj.config.stores.setdefault("default", "checkpoints")
    dj.config.stores.setdefault("checkpoints", OWN_STORE)
    OWN_STORE["location"] = str(store)


def _not_of_populate(record: logging.LogRecord) -> bool:
    """The worker tells itself which run failed and why."""
    return record.module != "autopopulate"


@contextmanager
def declaring(connection: Any) -> Iterator[None]:
    """One process declares at a time: DataJoint's declarations are not safe against each other."""
    postgres = connection.adapter.backend == "postgresql"
    lock = str(DECLARATION_LOCK) if postgres else "'cotrain_declaration', 120"
    got = connection.query(f"SELECT {'pg_advisory_lock' if postgres else 'GET_LOCK'}({lock})").fetchone()[0]
    if not postgres and got != 1:
        raise DatabaseError("Another process has been making or upgrading the schema for two minutes. Try again later.")
    try:
        with quiet():
            yield
    finally:
        lock = str(DECLARATION_LOCK) if postgres else "'cotrain_declaration'"
        connection.query(f"SELECT {'pg_advisory_unlock' if postgres else 'RELEASE_LOCK'}({lock})")
