"""Connecting: to a server, to the embedded database, again, and to what does not answer."""

import re
import uuid

import pytest

from cotrain.cli import main
from cotrain.errors import DatabaseError
from cotrain.tables import configs, runs, tags
from cotrain.tables._datajoint import dj
from cotrain.tables.connect import connect, disconnect, second_connection
from cotrain.tables.upgrade import upgrade


@pytest.fixture
def other(lab):
    """The name of a second schema, dropped in the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    connect(schema=name, create=True)
    configs.schema.drop()
    connect()


@pytest.mark.parametrize("name", ["Lab", "1st", "our-lab", "lab;drop", "a" * 42, "läb", "lab\n"])
def test_names_of_schemas_that_no_database_takes(name, unconnected):
    with pytest.raises(DatabaseError, match=rf"^A schema's name is small letters, .* found {re.escape(repr(name))}"):
        connect(schema=name)


def test_the_name_may_come_from_the_environment(unconnected, monkeypatch):
    monkeypatch.setenv("COTRAIN_SCHEMA", "Our Lab")
    with pytest.raises(DatabaseError, match=r"found 'Our Lab'\.$"):
        connect()


def test_connecting_declares_every_table(lab):
    declared = set(dj.Schema(lab.schema, connection=configs.schema.connection).list_tables())
    expected = {cls.table_name for cls, _ in configs.schema.declare_list}
    assert expected <= declared
    assert len(expected) >= 15
    assert runs.TrainedModel.jobs.is_declared


def test_connecting_again_and_after_a_break(lab):
    runs.Seed.insert1({"seed": 5}, skip_duplicates=True)
    connect()
    first = configs.schema.connection
    connect()
    assert configs.schema.connection is not first
    assert not first.is_connected, "the earlier connection is closed"
    disconnect()
    disconnect()  # twice is no error
    connect()
    assert runs.Seed() & {"seed": 5}
    assert runs.TrainedModel.jobs.connection is configs.schema.connection


def test_another_schema_in_the_same_process(lab, other):
    runs.Seed.insert1({"seed": 6}, skip_duplicates=True)
    connect(schema=other, create=True)
    assert configs.schema.database == other
    assert not runs.Seed()
    assert len(runs.TrainedModel.jobs) == 0
    runs.Seed.insert1({"seed": 7})
    connect()
    assert runs.Seed() & {"seed": 6}
    assert not runs.Seed() & {"seed": 7}


def test_checkpoints_go_into_the_home_that_is_connected(lab, tmp_path):
    assert dj.config.stores["checkpoints"]["location"] == str(lab.home / "store")
    connect(home=tmp_path / "elsewhere")
    assert dj.config.stores["checkpoints"]["location"] == str(tmp_path / "elsewhere" / "store")
    assert (tmp_path / "elsewhere" / "store").is_dir()
    connect()
    assert dj.config.stores["checkpoints"]["location"] == str(lab.home / "store")


def test_a_store_that_was_set_stays(lab, tmp_path, monkeypatch):
    own = {"protocol": "file", "location": str(tmp_path)}
    monkeypatch.setitem(dj.config.stores, "checkpoints", own)
    connect()
    assert dj.config.stores["checkpoints"] == own


def test_a_second_connection_is_one_of_its_own(lab):
    second = second_connection()
    assert second.connection_id != configs.schema.connection.connection_id
    assert second.query("SELECT 1").fetchone()[0] == 1
    second.close()
    assert configs.schema.connection.is_connected


def test_importing_the_tables_asks_no_server(unconnected):
    code = "import cotrain.tables.runs, cotrain.tables.queries, cotrain.tables.attempt, cotrain.tables.report"
    done = unconnected.python(code, DJ_HOST="127.0.0.1", DJ_PORT="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("backend", ["postgresql", "mysql"])
def test_a_server_that_is_down(backend, unconnected):
    done = unconnected.cotrain("ls", DJ_HOST="127.0.0.1", DJ_PORT="1", DJ_BACKEND=backend)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"cotrain: No database answers at 127\.0\.0\.1:1: .*[Rr]efused.*\. Is the server running, and are DJ_HOST and "
        r"DJ_PORT right\?\n",
        done.stderr,
    )


def test_a_server_that_refuses_the_password(unconnected, server):
    if server["DJ_PASS"] in ("", "simple"):
        pytest.skip("this server takes any password, or an empty one")
    done = unconnected.cotrain("ls", DJ_PASS="wrong")
    assert (done.returncode, done.stdout) == (1, "")
    account = re.escape(repr(server["DJ_USER"]))
    assert re.fullmatch(
        rf"cotrain: The server at \S+ refuses the account {account}: .*Are DJ_USER and the password .*\n", done.stderr
    )
    assert "wrong" not in done.stderr


def test_a_user_who_may_not_make_a_schema(lab, monkeypatch, capsys):
    connection = configs.schema.connection
    if connection.adapter.backend != "postgresql":
        pytest.skip("asked of PostgreSQL alone")
    role = f"guest_{uuid.uuid4().hex[:8]}"
    connection.query(f"CREATE ROLE {role} LOGIN PASSWORD 'guest'")
    with monkeypatch.context() as patch:
        for name, value in {"DJ_USER": role, "DJ_PASS": "guest", "COTRAIN_SCHEMA": "forbidden"}.items():
            patch.setenv(name, value)
        status = main(["db", "init"])
    connect()
    configs.schema.connection.query(f"DROP ROLE {role}")
    assert status == 1
    assert re.fullmatch(
        r"cotrain: The database refuses to make or to open the schema 'forbidden': .*permissions\..*\n",
        capsys.readouterr().err,
    )


def test_connecting_makes_and_changes_nothing_once_the_schema_is_there(lab):
    """So that accounts without the right to can connect: a table that is missing stays so."""
    tags.Note().drop_quick()
    connect()
    assert not tags.Note().is_declared
    upgrade()
    assert tags.Note().is_declared


@pytest.mark.slow
def test_a_new_schema_may_be_declared_by_several_at_once(lab, other):
    processes = [lab.start("db", "init", COTRAIN_SCHEMA=other) for _ in range(3)]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert {err for _, err in said} == {""}


def test_without_a_server_the_embedded_database_is_used(unconnected, server_folder):
    """One that runs already is attached to, and is left running."""
    settings = {"DJ_HOST": "", "COTRAIN_HOME": str(server_folder), "COTRAIN_SCHEMA": f"test_{uuid.uuid4().hex[:12]}"}
    done = unconnected.cotrain("ls", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "No such runs. `cotrain enqueue RECIPE` makes some.\n"
    status = unconnected.cotrain("db", "status", **settings)
    assert re.fullmatch(r"embedded PostgreSQL \d+ in .*/database: at 127\.0\.0\.1:\d+, process \d+\n", status.stdout)
