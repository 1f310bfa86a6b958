"""Connect to the lab's database: the embedded one, or the server that DataJoint's settings name."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cotrain.errors import DatabaseError, DatabaseUnavailableError
from cotrain.settings import home_folder
from cotrain.tables import configs, evaluations, runs, tags  # noqa: F401 each declares its tables
from cotrain.tables._datajoint import dj
from cotrain.tables.embedded import EmbeddedPostgres

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


def connect(*, home: Path | None = None, schema: str | None = None) -> None:
    """Connect, and declare what is not yet declared.

    The database is the server that `DJ_HOST` (with `DJ_USER`, `DJ_PASS`, `DJ_BACKEND` ...) names, else the embedded
    one, which is started where it does not run.

    Args:
        home: Folder of runs, checkpoints and the embedded database; default: the setting (`cotrain.settings`).
        schema: Name of the schema; default: `COTRAIN_SCHEMA`, else `cotrain`.

    Raises:
        DatabaseUnavailableError: No database answers there.
        DatabaseError: It refuses, or the schema's name is not allowed.
    """
    name = schema or os.environ.get("COTRAIN_SCHEMA", "cotrain")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise DatabaseError(f"A schema's name is small letters, digits and '_', found {name!r}.")
    folder = (home or home_folder()).resolve()
    disconnect()
    _set_up(folder)
    try:
        with _quiet():
            connection = dj.conn(reset=True)
    except Exception as error:
        raise DatabaseUnavailableError(
            f"No database answers at {dj.config['database.host']}:{dj.config['database.port']}: "
            f"{str(error).strip().splitlines()[0]}. Is the server running, and are DJ_HOST, DJ_USER and DJ_PASS right?"
        ) from None
    try:
        with _declaring(connection):
            # bound anew: DataJoint would keep to the connection, and the schema, of an earlier call
            computed: tuple[Any, ...] = (runs.TrainedModel, *evaluations.TABLES.values())
            configs.schema.database = None
            for table in computed:
                table._jobs = None
            configs.schema.activate(name, connection=connection)
            # declared lazily otherwise, and two workers that do so at once collide
            assert all(table.jobs is not None for table in computed)
    except dj.DataJointError as error:
        raise DatabaseError(f"The database refuses to make or to open the schema {name!r}: {error}") from None


def disconnect() -> None:
    """Close the connection, so that the embedded database can stop."""
    # a second close would be an error with MySQL
    if configs.schema.is_activated() and configs.schema.connection.is_connected:
        configs.schema.connection.close()


def connect_again(connection: Any) -> None:
    """Connect anew after the connection was lost; an embedded database that has ended is started."""
    settings = dj.config
    if not os.environ.get("DJ_HOST"):
        _set_up(Path(OWN_STORE["location"]).parent)
    connection.conn_info |= {
        "host": settings["database.host"],
        "port": settings["database.port"],
        "passwd": settings["database.password"],
    }
    with contextlib.suppress(Exception):
        connection.close()
    connection._in_transaction = False  # it ended with the old connection
    with _quiet():
        connection.connect()


def second_connection() -> Any:
    """A connection of its own to the same database, for another thread."""
    setting = dj.config
    with _quiet():
        return dj.Connection(
            setting["database.host"],
            setting["database.user"],
            setting["database.password"],
            setting["database.port"],
            setting["database.use_tls"],
            backend=setting["database.backend"],
        )


def _set_up(home: Path) -> None:
    if not os.environ.get("DJ_HOST"):
        server = embedded(home).start()
        settings = {
            "backend": "postgresql",
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "use_tls": False,  # loopback; the embedded server has no TLS
        }
        for setting, value in settings.items():
            dj.config[f"database.{setting}"] = value
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
def _declaring(connection: Any) -> Iterator[None]:
    """One process declares at a time: DataJoint's declarations are not safe against each other."""
    postgres = connection.adapter.backend == "postgresql"
    lock = str(DECLARATION_LOCK) if postgres else "'cotrain_declaration', 120"
    connection.query(f"SELECT {'pg_advisory_lock' if postgres else 'GET_LOCK'}({lock})")
    try:
        with _quiet():
            yield
    finally:
        lock = str(DECLARATION_LOCK) if postgres else "'cotrain_declaration'"
        connection.query(f"SELECT {'pg_advisory_unlock' if postgres else 'RELEASE_LOCK'}({lock})")


@contextmanager
def _quiet() -> Iterator[None]:
    """DataJoint warns of its own definition of the jobs table, and at each connection."""
    logger = logging.getLogger("datajoint")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
