"""Encrypted connections, to servers of our own with a certificate that we sign."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cotrain.errors import DatabaseError, DatabaseUnavailableError
from cotrain.tables.server import encrypted, open_connection
from cotrain.tables.settings import DatabaseSettings

pytestmark = pytest.mark.slow

POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None)
MARIADB = shutil.which("mariadbd", path="/usr/sbin:/usr/bin")
LOGIN = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run(*command, **options):
    subprocess.run([str(word) for word in command], check=True, capture_output=True, **LOGIN, **options)


def certificate(folder, name):
    """A key, and a certificate of it for a host's name or address, signed with itself."""
    alternative = f"IP:{name}" if name[0].isdigit() else f"DNS:{name}"
    for kind in ("key", "crt"):
        (folder / f"{name}.{kind}").unlink(missing_ok=True)
    names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}")
    files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files)
    return folder / f"{name}.crt", folder / f"{name}.key"


def start_postgres(folder, port, crt, key, *, tls):
    data = folder / "data"
    if not data.exists():
        secret = folder / "secret"
        secret.write_text("right")
        secret.chmod(0o644)
        login = ("-U", "lab", "--auth=scram-sha-256", f"--pwfile={secret}", "--locale=C")
        run(POSTGRES / "initdb", "-D", data, *login)
    options = ["-c", "ssl=on", "-c", f"ssl_cert_file={crt}", "-c", f"ssl_key_file={key}"] if tls else []
    command = [POSTGRES / "postgres", "-D", data, "-p", port, "-k", "", "-h", "127.0.0.1", *options]
    return subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL, **LOGIN)


def start_mariadb(folder, port, crt, key, *, tls):
    data = folder / "mariadb"
    begin = folder / "begin.sql"
    if not data.exists():
        install = shutil.which("mariadb-install-db", path="/usr/bin:/usr/sbin")
        run(install, "--no-defaults", f"--datadir={data}", "--skip-test-db", "--auth-root-authentication-method=normal")
        begin.write_text("CREATE USER IF NOT EXISTS lab@'%' IDENTIFIED BY 'right';\nGRANT ALL ON *.* TO lab@'%';")
        begin.chmod(0o644)
    options = [f"--ssl-cert={crt}", f"--ssl-key={key}"] if tls else []
    place = [
        f"--datadir={data}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        f"--socket={folder}/mariadb.sock",
    ]
    command = [MARIADB, "--no-defaults", *place, f"--init-file={begin}", f"--pid-file={folder}/mariadb.pid", *options]
    if LOGIN:
        command.append("--user=nobody")
    return subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL, **LOGIN)


START = {"postgresql": start_postgres, "mysql": start_mariadb}


@pytest.fixture(scope="module", params=["postgresql", "mysql"])
def place(request):
    """A folder for a server's data, what starts one there, and certificates."""
    if not shutil.which("openssl") or not (POSTGRES if request.param == "postgresql" else MARIADB):
        pytest.skip("no programs of such a server, or no openssl, on this machine")
    folder = Path(tempfile.mkdtemp(prefix="cotrain-tls-"))
    folder.chmod(0o777)
    right = certificate(folder, "127.0.0.1")
    other = certificate(folder, "elsewhere.example")
    yield request.param, folder, right, other
    shutil.rmtree(folder)


@pytest.fixture
def serve(place):
    """A function that starts the server and gives the settings of a client."""
    backend, folder, _, _ = place
    started = []

    def start(files, *, tls=True):
        port = free_port()
        process = START[backend](folder, port, *files, tls=tls)
        started.append(process)
        settings = DatabaseSettings(
            host="127.0.0.1", port=port, backend=backend, user="lab", password="right", name="postgres", tls="off"
        )
        for _ in range(300):
            try:
                open_connection(settings).close()
                return settings
            except DatabaseUnavailableError:
                assert process.poll() is None, "the server ended"
                time.sleep(0.1)
        raise AssertionError("the server does not answer")

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=60)


def connected(settings, **changes):
    """Whether a connection with other settings is encrypted; it is closed."""
    connection = open_connection(replace(settings, **changes))
    try:
        return encrypted(connection)
    finally:
        connection.close()


def test_a_server_with_a_certificate(serve, place):
    _, _, right, other = place
    settings = serve(right)
    assert not connected(settings)
    assert connected(settings, tls="prefer")
    assert connected(settings, tls="require")
    assert connected(settings, tls="verify", ca=str(right[0]))
    with pytest.raises(DatabaseError, match=r"^No encrypted connection to 127\.0\.0\.1:\d+: .*certificate.*'verify'"):
        connected(settings, tls="verify", ca=str(other[0]))
    with pytest.raises(DatabaseError, match=r"refuses the account 'lab'.*password") as told:
        connected(settings, tls="require", password="wrong-secret")
    assert "wrong-secret" not in str(told.value)


def test_a_server_under_another_name_is_not_trusted(serve, place):
    _, _, _, other = place
    settings = serve(other)
    assert connected(settings, tls="require")
    with pytest.raises(DatabaseError, match=r"^No encrypted connection to 127\.0\.0\.1"):
        connected(settings, tls="verify", ca=str(other[0]))


def test_a_server_that_cannot_encrypt(serve, place):
    settings = serve(place[2], tls=False)
    assert not connected(settings, tls="prefer")
    for tls, ca in (("require", ""), ("verify", str(place[2][0]))):
        with pytest.raises(DatabaseError, match=r"encrypt|No encrypted connection"):
            connected(settings, tls=tls, ca=ca)
