"""Servers that refuse, are too old, or of another make: one clear message each."""

from dataclasses import replace

import pytest

from cotrain.cli import main
from cotrain.errors import DatabaseError, DatabaseUnavailableError
from cotrain.tables import configs, server
from cotrain.tables import upgrade as upgrades
from cotrain.tables.connect import connect, second_connection
from cotrain.tables.runs import TrainedModel
from cotrain.tables.server import make_and_version, open_connection


@pytest.fixture
def settings(lab):
    """Of the server that is connected."""
    connect()
    return configs.schema.connection.settings


def test_a_wrong_password_is_told_in_one_line(settings):
    if not settings.password:
        pytest.skip("this server takes any password")
    with pytest.raises(
        DatabaseError, match=rf"^The server at {settings.place} refuses the account '{settings.user}': "
    ):
        open_connection(replace(settings, password="not-the-one"))


def test_an_unknown_host(settings):
    with pytest.raises(DatabaseUnavailableError, match=r"^No database answers at no-such-host\.invalid:1: ") as told:
        open_connection(replace(settings, host="no-such-host.invalid", port=1))
    assert "\n" not in str(told.value)


def test_no_account(settings):
    with pytest.raises(DatabaseError, match=r"is the database's host, but no account is named\. Set DJ_USER\.$"):
        open_connection(replace(settings, user=""))


def test_a_database_that_the_server_lacks(settings):
    if settings.backend != "postgresql":
        pytest.skip("MySQL has no databases beside schemas")
    with pytest.raises(DatabaseError, match=r"has no database 'visoin'\. Set DJ_DATABASE_NAME\.$"):
        open_connection(replace(settings, name="visoin"))


def test_a_server_that_is_too_old(settings, monkeypatch):
    connection = configs.schema.connection
    make, version = make_and_version(connection)
    assert (make == "PostgreSQL") == (settings.backend == "postgresql")
    assert version >= server.OLDEST[make]
    if make == "MariaDB":
        pytest.skip("which only warns")
    monkeypatch.setitem(server.OLDEST, make, (99, 1))
    with pytest.raises(
        DatabaseError, match=rf"^The server at {settings.place} is {make} [\d.]+; cotrain needs 99\.1 or"
    ):
        open_connection(settings)


def test_mariadb_warns_once_in_a_process(settings, monkeypatch, caplog):
    make, _ = make_and_version(configs.schema.connection)
    monkeypatch.setattr(server, "_warned", set())
    monkeypatch.delenv("COTRAIN_MARIADB")
    for _ in range(2):
        second_connection().close()
    assert len(caplog.records) == (make == "MariaDB")
    assert all("is MariaDB" in record.getMessage() for record in caplog.records)


def test_wrong_variables_are_told_before_datajoint_reads_them(unconnected):
    done = unconnected.cotrain("ls", DJ_PORT="many")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cotrain: DJ_PORT must be a port's number, 1 to 65535, found 'many'.\n"


@pytest.mark.slow
def test_the_password_is_nowhere(lab, tmp_path):
    """Not in output, tracebacks, the database, or any file of the home."""
    password = configs.schema.connection.settings.password
    if len(password) < 8:
        pytest.skip("this server's password is not to be told from other words")
    secret = tmp_path / "secret"
    secret.write_text(password + "\n")
    by_file = {"DJ_PASS": "", "DJ_PASS_FILE": str(secret)}
    lab.enqueue("Failing")
    worked = lab.cotrain("work", "-vv", "--debug", "--recipe", "Failing", **by_file)
    assert "2 runs finished, 1 failed" in worked.stdout, worked.stderr
    told = [worked.stdout, worked.stderr]
    for changes in ({"DJ_PORT": "1"}, {"DJ_USER": "nobody"}, {"COTRAIN_TLS": "require"}, {"COTRAIN_SCHEMA": "no_such"}):
        done = lab.cotrain("ls", "-vv", "--debug", **{**by_file, **changes})
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        told += [done.stdout, done.stderr]
    told += [str(table().to_dicts()) for table in upgrades.tables()] + [str(TrainedModel.jobs.to_dicts())]
    told += [repr(configs.schema.connection), repr(configs.schema.connection.settings)]
    assert not [text for text in told if password in text]
    files = [path for path in lab.home.rglob("*") if path.is_file()]
    assert any(path.name == "journal.jsonl" for path in files)
    assert not [path for path in files if password.encode() in path.read_bytes()]


def test_a_command_in_the_middle_of_which_a_right_is_missing(lab, monkeypatch, capsys):
    """As where an administrator takes it away."""
    if configs.schema.connection.adapter.backend != "postgresql":
        pytest.skip("asked of PostgreSQL alone; see the accounts for others")
    connection = configs.schema.connection
    connection.query("CREATE ROLE looks_only LOGIN PASSWORD 'looks-only'")
    try:
        connection.query(f"GRANT USAGE ON SCHEMA {lab.schema} TO looks_only")
        connection.query(f"GRANT SELECT, REFERENCES ON ALL TABLES IN SCHEMA {lab.schema} TO looks_only")
        connection.query(f"REVOKE SELECT ON {lab.schema}.run FROM looks_only")
        with monkeypatch.context() as patch:
            patch.setenv("DJ_USER", "looks_only")
            patch.setenv("DJ_PASS", "looks-only")
            assert main(["ls"]) == 1
    finally:
        connect()
        configs.schema.connection.query("DROP OWNED BY looks_only")
        configs.schema.connection.query("DROP ROLE looks_only")
    told = "cotrain: The account 'looks_only' lacks a right: permission denied for table run. "
    assert capsys.readouterr().err.startswith(told)
