"""Servers, clients and their mishaps, for the tests of the embedded database."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from cotrain.tables.embedded import EmbeddedPostgres

REPOSITORY = Path(__file__).parents[2]
IS_ROOT = os.geteuid() == 0
NOBODY = 65534
HOME_FILES = {"data", "connection.json", "server.log", ".lock"}
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

START = """
import sys
from dataclasses import asdict
from pathlib import Path
from cotrain.tables.embedded import EmbeddedPostgres
print(asdict(EmbeddedPostgres(Path(sys.argv[1])).start()), flush=True)
"""


def query(connection, sql, **changes):
    """Rows of one statement, committed."""
    values = {"host": connection.host, "port": connection.port, "user": connection.user}
    values |= {"password": connection.password, "dbname": connection.database} | changes
    client = psycopg2.connect(**values, connect_timeout=5)
    try:
        with client, client.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        client.close()


def client(home, code=START, python=sys.executable, **options):
    """Another process that starts or attaches to the server of a home."""
    command = [python, "-c", code, str(home)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=REPOSITORY, **pipes, **options)


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def change_json(server, **values):
    path = server.home / "connection.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@contextmanager
def soon():
    """What must not wait for the timeout."""
    began = time.monotonic()
    try:
        yield
    finally:
        assert time.monotonic() - began < 30


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def base():
    # pytest's own folders are closed to the user that root's server runs as
    folder = Path(tempfile.mkdtemp(prefix="cotrain-pg-"))
    folder.chmod(0o755)
    yield folder
    for home in folder.rglob("connection.json"):
        EmbeddedPostgres(home.parent).stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def first_start(base):
    """The module's server, with what its first start found and left around it."""
    parent = base / "lab"
    parent.mkdir()
    parent.chmod(0o751)
    server = EmbeddedPostgres(parent / "pg")
    before = server.status()
    return server, before, server.start(), server.start()


@pytest.fixture
def pg_server(first_start):
    """The module's server, running when a test begins."""
    server = first_start[0]
    server.start()
    return server
