"""A connection to a database server: its encryption, what it may be, and what it says when it refuses."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cotrain.errors import DatabaseError, DatabaseUnavailableError
from cotrain.tables._datajoint import dj
from cotrain.tables.settings import DatabaseSettings

log = logging.getLogger(__name__)

OLDEST = {"PostgreSQL": (15,), "MySQL": (8, 0, 13), "MariaDB": (10, 11)}
REFUSED = ("password authentication failed", "no password supplied", "Access denied", "no pg_hba.conf entry")
_one_at_a_time = threading.Lock()
_warned: set[str] = set()  # servers of which this process has warned


class Connection(dj.Connection):
    """DataJoint's connection, which can also check who the server is, and does so when it connects again."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        tls = {"off": False, "prefer": None}.get(settings.tls, _options(settings))
        with quiet():
            super().__init__(
                settings.host,
                settings.user,
                settings.password,
                settings.port,
                tls,
                backend=settings.backend,
                database_name=settings.name or None if settings.backend == "postgresql" else None,
            )

    def _build_connect_kwargs(self, use_tls: Any = None) -> dict[str, Any]:
        options: dict[str, Any] = super()._build_connect_kwargs(use_tls)
        if self.settings.tls == "off":
            options["use_tls"] = False  # DataJoint makes "where it can be" of False
        if self.adapter.backend == "postgresql" and self.settings.tls == "verify":
            options["sslmode"] = "verify-full"
        return options

    def connect(self) -> None:
        """Connect, or connect again."""
        if self.settings.tls != "verify":
            super().connect()
            return
        with _one_at_a_time:  # DataJoint hands no file of certificates on to PostgreSQL's client
            before = os.environ.get("PGSSLROOTCERT", "")
            os.environ["PGSSLROOTCERT"] = self.settings.ca
            try:
                super().connect()
            finally:
                os.environ["PGSSLROOTCERT"] = before


def open_connection(settings: DatabaseSettings) -> Connection:
    """Connect to a server.

    Raises:
        DatabaseUnavailableError: No server answers there.
        DatabaseError: It refuses the account or the encryption, or is too old.
    """
    if not settings.user:
        raise DatabaseError(f"{settings.host} is the database's host, but no account is named. Set DJ_USER.")
    try:
        connection = Connection(settings)
    except Exception as error:  # each driver has its own
        raise _refusal(error, settings) from None
    if settings.tls in ("require", "verify") and not encrypted(connection):
        connection.close()
        raise DatabaseError(f"The server at {settings.place} does not encrypt, which the setting tls asks for.")
    _check_make(connection, settings)
    return connection


def _options(settings: DatabaseSettings) -> dict[str, Any]:
    """TLS options of PyMySQL; of an empty dictionary it makes encryption that may be missing."""
    if settings.tls == "verify":
        return {"ca": settings.ca, "check_hostname": True, "verify_mode": True}
    return {"check_hostname": False, "verify_mode": False}


def _refusal(error: Exception, settings: DatabaseSettings) -> DatabaseError:
    text = str(error.args[-1] if error.args else error).strip()
    said = (text.splitlines() or [type(error).__name__])[0].rstrip(".")
    if any(words in text for words in REFUSED):
        return DatabaseError(
            f"The server at {settings.place} refuses the account {settings.user!r}: {said}. Are DJ_USER and the "
            "password (DJ_PASS, DJ_PASS_FILE, or password_file in cotrain.toml) right?"
        )
    if re.search(r"certificate|SSL|TLS", text) and settings.tls != "prefer":
        return DatabaseError(
            f"No encrypted connection to {settings.place}: {said}. The setting tls is {settings.tls!r}"
            + (f", and ca is {settings.ca}." if settings.ca else ".")
        )
    if re.search(r'database ".*" does not exist', text):
        return DatabaseError(f"The server at {settings.place} has no database {settings.name!r}. Set DJ_DATABASE_NAME.")
    return DatabaseUnavailableError(
        f"No database answers at {settings.place}: {said}. Is the server running, and are DJ_HOST and DJ_PORT right?"
    )


def encrypted(connection: Connection) -> bool:
    """Whether what the client and the server say is encrypted."""
    if connection.adapter.backend == "postgresql":
        return bool(connection.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()[0])
    return bool(connection.query("SHOW STATUS LIKE 'Ssl_cipher'").fetchone()[1])


def make_and_version(connection: Connection) -> tuple[str, tuple[int, ...]]:
    """Which server this is: PostgreSQL, MySQL or MariaDB, and its version."""
    sql = "SHOW server_version" if connection.adapter.backend == "postgresql" else "SELECT VERSION()"
    text = str(connection.query(sql).fetchone()[0])
    make = "PostgreSQL" if connection.adapter.backend == "postgresql" else "MariaDB" if "MariaDB" in text else "MySQL"
    return make, tuple(int(number) for number in re.findall(r"\d+", text.removeprefix("5.5.5-"))[:3])


def _check_make(connection: Connection, settings: DatabaseSettings) -> None:
    make, version = make_and_version(connection)
    told = ".".join(map(str, version))
    oldest = ".".join(map(str, OLDEST[make]))
    if version < OLDEST[make] and make != "MariaDB":
        connection.close()
        raise DatabaseError(f"The server at {settings.place} is {make} {told}; cotrain needs {oldest} or newer.")
    if make == "MariaDB" and settings.place not in _warned and os.environ.get("COTRAIN_MARIADB") != "ok":
        _warned.add(settings.place)
        log.warning(
            "The server at %s is MariaDB %s, which DataJoint does not support; cotrain's own tests pass on %s. "
            "For years of data choose PostgreSQL or MySQL 8. COTRAIN_MARIADB=ok silences this.",
            settings.place,
            told,
            oldest,
        )


def clock_skew(connection: Connection, *, now: Callable[[], float] = time.time) -> float:
    """Seconds by which this machine's clock is ahead of the server's, to half of what the question took."""
    postgres = connection.adapter.backend == "postgresql"
    before = now()
    text = "EXTRACT(EPOCH FROM clock_timestamp())" if postgres else "UNIX_TIMESTAMP(NOW(6))"
    theirs = float(connection.query(f"SELECT {text}").fetchone()[0])
    return (before + now()) / 2 - theirs


@contextmanager
def rights_told(settings: DatabaseSettings) -> Iterator[None]:
    """Turn the server's refusal of a statement into one clear error."""
    try:
        yield
    except dj.errors.AccessError as error:
        said = next((str(part) for part in error.args[1:] if part), "").strip().splitlines()
        raise DatabaseError(
            f"The account {settings.user!r} lacks a right: {said[0] if said else error}. What an account may do is "
            "decided by the server's administrator; `cotrain db grants` prints the accounts that cotrain expects."
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """DataJoint warns of its own definition of the jobs table, and at each connection; once, we do it ourselves."""
    logger = logging.getLogger("datajoint")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "MariaDB is not officially supported", UserWarning)
            yield
    finally:
        logger.setLevel(before)
