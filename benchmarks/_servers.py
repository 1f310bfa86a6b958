"""Database servers of one's own in a temporary folder, to stop and to kill."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from cotrain.tables.embedded import EmbeddedPostgres

DEBIANS_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class Server(ABC):
    """A server and the environment of its clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it answers."""

    @abstractmethod
    def stop(self) -> None:
        """End it in order; clients are disconnected."""

    @abstractmethod
    def kill(self) -> None:
        """End it with SIGKILL."""


def _free_port() -> int:
    """A port that no client is given by the system: one that asks for a server that is away may else take its port."""
    for port in random.sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port
    raise SystemExit("No port is free.")


class Embedded(Server):
    """cotrain's own; its workers start it again themselves."""

    def start(self) -> None:
        EmbeddedPostgres(self.folder / "database").start()

    def stop(self) -> None:
        EmbeddedPostgres(self.folder / "database").stop()

    def kill(self) -> None:
        if pid := EmbeddedPostgres(self.folder / "database").status().pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class _Process(Server):
    """A server that is a child of this process."""

    user: str | None = None
    polite = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data = folder / "server"
        self.data.mkdir()
        if os.geteuid() == 0:
            folder.chmod(0o755)
            shutil.chown(self.data, self.user)
        else:
            self.user = None
        self.port = str(_free_port())
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {"DJ_HOST": "127.0.0.1", "DJ_PORT": self.port, "DJ_PASS": "", "DJ_USE_TLS": "false"}

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, user=self.user, cwd=self.data, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command[0]} failed: {done.stdout[-500:]} {done.stderr[-500:]}")

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it."""

    def start(self) -> None:
        log = (self.folder / "server.log").open("ab")
        end = time.monotonic() + 60
        self.process = None
        while time.monotonic() < end:
            # what a killed one has left behind may keep the next one from starting for a moment
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen(
                    self.command(), user=self.user, cwd=self.data, stdout=log, stderr=log, start_new_session=True
                )
            with suppress(OSError), socket.create_connection(("127.0.0.1", int(self.port)), timeout=1):
                return
            time.sleep(0.05)
        raise SystemExit(f"No answer at port {self.port}: {Path(log.name).read_text()[-1000:]}")

    def stop(self) -> None:
        assert self.process
        self.process.send_signal(self.polite)
        self.process.wait(timeout=60)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()


class PostgreSQL(_Process):
    """Debian's PostgreSQL, over TCP."""

    user = "postgres"
    polite = signal.SIGINT  # "fast": clients are disconnected

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment |= {"DJ_USER": "postgres", "DJ_BACKEND": "postgresql"}
        self._run(str(DEBIANS_POSTGRES[-1] / "initdb"), "-D", str(self.data / "data"), "-U", "postgres", "-A", "trust")

    def command(self) -> list[str]:
        place = ["-D", str(self.data / "data"), "-p", self.port, "-k", str(self.data)]
        return [str(DEBIANS_POSTGRES[-1] / "postgres"), *place, "-h", "127.0.0.1"]


class MariaDB(_Process):
    """Debian's MariaDB, over TCP."""

    user = "mysql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment |= {"DJ_USER": "root", "DJ_BACKEND": "mysql"}
        self.environment["PYTHONWARNINGS"] = "ignore:MariaDB is not officially supported:UserWarning"
        self._run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.data / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def command(self) -> list[str]:
        return [
            "mariadbd",
            "--no-defaults",
            f"--datadir={self.data / 'data'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.data / 'socket'}",
        ]


SERVERS: dict[str, type[Server]] = {"embedded": Embedded, "postgresql": PostgreSQL, "mariadb": MariaDB}
