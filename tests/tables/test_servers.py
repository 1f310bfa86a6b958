"""The tests of the tables once more, on servers of other makes where they answer at their usual ports."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SERVERS = {
    "PostgreSQL": {"DJ_PORT": "5432", "DJ_USER": "postgres", "DJ_BACKEND": "postgresql"},
    "MariaDB or MySQL": {"DJ_PORT": "3306", "DJ_USER": "root", "DJ_BACKEND": "mysql"},
}
HERE = Path(__file__).parent
NAMES = ("configs", "paths", "runs", "queue", "claims", "parents", "workers", "cli_queries")
MORE = ("gc", "accounts", "upgrade")
FILES = [str(HERE / f"test_{name}.py") for name in (*NAMES, *MORE)]
OPTIONS = ["-q", "-x", "-m", "not slow", "-p", "no:cacheprovider"]


def refusal(settings):
    """Why no test can be made there; empty where one can."""
    try:
        if settings["DJ_BACKEND"] == "postgresql":
            import psycopg2

            psycopg2.connect(host="127.0.0.1", port=settings["DJ_PORT"], user="postgres", connect_timeout=5).close()
        else:
            import pymysql

            pymysql.connect(host="127.0.0.1", port=int(settings["DJ_PORT"]), user="root", connect_timeout=5).close()
    except Exception as error:
        return f"no server at 127.0.0.1:{settings['DJ_PORT']} lets its administrator in without a password: {error}"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_the_tables_on_another_server(name):
    """Each test file makes a schema of its own there, and drops it."""
    if reason := refusal(SERVERS[name]):
        pytest.skip(reason)
    server = {"DJ_HOST": "127.0.0.1", "DJ_PASS": "", "DJ_USE_TLS": "false", "COTRAIN_TEST_SERVER": "1"}
    command = [sys.executable, "-m", "pytest", *OPTIONS, *FILES]
    environment = {**os.environ, **server, **SERVERS[name], "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_server_that_does_not_answer_is_told_apart():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])  # nobody listens
        for settings in SERVERS.values():
            assert refusal({**settings, "DJ_PORT": port}).startswith(f"no server at 127.0.0.1:{port} ")
