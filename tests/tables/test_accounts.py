"""Admin, worker and reader on a server: what the script of grants lets each do, and what not."""

import re
import uuid
from pathlib import Path

import pytest

from cotrain.cli import main
from cotrain.errors import DatabaseError
from cotrain.tables import configs
from cotrain.tables.accounts import Accounts, grants
from cotrain.tables.connect import attach, connect, disconnect
from cotrain.tables.runs import Attempt, EpochScore, Recipe, Run, Seed, TrainedModel
from cotrain.tables.worker import work

PASSWORD = "pa55-of-a-lab"
TINY = Path(__file__).with_name("tiny.py")


def run_script(connection, script):
    """What the server's administrator does with the script."""
    script = script.replace("%", "%%")  # the driver's sign of an argument
    if connection.adapter.backend == "postgresql":
        connection.query(script)
        return
    for statement in re.sub(r"^--.*$", "", script, flags=re.MULTILINE).split(";"):
        if statement.strip():
            connection.query(statement)


@pytest.fixture(scope="module")
def accounts(unconnected):
    """Names of three accounts with a password; the admin has made the schema."""
    suffix = uuid.uuid4().hex[:8]
    names = Accounts(*(f"{kind}_{suffix}" for kind in ("admin", "worker", "reader")))
    server = attach()[1]
    postgres = server.adapter.backend == "postgresql"
    script = grants(names, schema=unconnected.schema, backend=server.adapter.backend)
    run_script(server, script)
    for name in (names.admin, names.worker, names.reader):
        mysql = f"ALTER USER '{name}'@'%' IDENTIFIED BY '{PASSWORD}' ACCOUNT UNLOCK".replace("%", "%%")
        server.query(f"ALTER ROLE {name} PASSWORD '{PASSWORD}'" if postgres else mysql)
    with pytest.MonkeyPatch.context() as patch:
        as_user(patch, names.admin)
        assert connect(create=True)
        disconnect()
    server = attach()[1]
    run_script(server, script)
    yield names
    connect()
    configs.schema.drop()
    server = attach()[1]
    for name in (names.reader, names.worker, names.admin):
        if postgres:
            server.query(f"DROP OWNED BY {name}")
        server.query(f"DROP ROLE {name}" if postgres else f"DROP USER '{name}'@'%%'")
    server.close()


def as_user(patch, name):
    """Who connects next."""
    patch.setenv("DJ_USER", name)
    patch.setenv("DJ_PASS", PASSWORD)


@pytest.fixture
def finished(accounts, unconnected, monkeypatch):
    """`Again`, its first run trained by the worker's account, which stays connected."""
    as_user(monkeypatch, accounts.worker)
    connect()
    if not TrainedModel():
        unconnected.enqueue("Again")
        assert work(recipe="tiny.Again", max_runs=1) == (1, 0)
    return unconnected


def refused(action):
    """That the server refuses it, and nothing else went wrong."""
    from cotrain.tables._datajoint import dj

    with pytest.raises(dj.errors.AccessError):
        action()


def query(sql):
    return lambda: configs.schema.connection.query(sql)


def test_a_worker_enqueues_and_trains_and_may_not_make_drop_or_delete(finished):
    assert (Attempt() & TrainedModel().proj()).fetch1("status") == "done"
    assert len(TrainedModel.jobs) == 1, "the job of the finished run is gone"
    refused(lambda: Run().delete())
    refused(lambda: TrainedModel().delete_quick())
    refused(query(f"DROP TABLE {Recipe.full_table_name}"))
    refused(query(f"ALTER TABLE {Recipe.full_table_name} ADD mine INT"))
    made = configs.schema.connection.adapter.make_full_table_name(configs.schema.database, "mine")
    refused(query(f"CREATE TABLE {made} (a INT)"))
    assert len(Run()) == 2
    (EpochScore() & "epoch_number > 1000").delete_quick()  # as a run that goes on does


def test_a_reader_lists_and_shows(finished, accounts, monkeypatch, capsys):
    done = TrainedModel().fetch1("run_key")
    as_user(monkeypatch, accounts.reader)
    assert main(["ls", "--csv"]) == 0
    assert done in capsys.readouterr().out
    assert main(["show", done]) == 0
    assert "validation scores" in capsys.readouterr().out
    assert main(["db", "check"]) == 0
    assert main(["db", "upgrade", "--dry-run"]) == 0


@pytest.mark.parametrize("words", [("enqueue", f"{TINY}:Six"), ("work",)], ids=lambda words: words[0])
def test_a_reader_is_told_which_right_it_lacks(words, finished, accounts, monkeypatch, capsys):
    as_user(monkeypatch, accounts.reader)
    runs = len(Run())
    assert main(words) == 1
    err = capsys.readouterr().err
    lacks = rf"cotrain: The account '{accounts.reader}' lacks a right: .*denied.*`cotrain db grants` .*\n"
    assert re.search(rf"^{lacks}\Z", err, re.MULTILINE), err
    assert "Traceback" not in err
    connect()
    assert len(Run()) == runs
    refused(lambda: Seed.insert1({"seed": 99}))


def test_a_worker_may_not_upgrade(finished, accounts, monkeypatch, capsys):
    as_user(monkeypatch, accounts.admin)
    connect()
    from cotrain.tables.tags import Note
    from cotrain.tables.version import SchemaVersion

    Note().drop_quick()
    SchemaVersion().delete_quick()
    as_user(monkeypatch, accounts.worker)
    assert main(["db", "upgrade"]) == 1
    assert re.match(r"cotrain: .*(CREATE privilege|denied)", capsys.readouterr().err)
    as_user(monkeypatch, accounts.admin)
    assert main(["db", "upgrade"]) == 0
    assert capsys.readouterr().out == "added table Note\n"
    as_user(monkeypatch, accounts.reader)
    connect()
    assert len(Note()) == 0, "new tables are open to readers at once"


def test_the_script_may_be_run_again(accounts, unconnected):
    server = attach()[1]
    run_script(server, grants(accounts, schema=unconnected.schema, backend=server.adapter.backend))
    server.close()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a", "b", "b"), "must be three accounts, found a, b, b"),
        (("a", "b", "c'; DROP"), r"letters, digits and '_', found \"c'; DROP\""),
        (("A", "b", "c"), "found 'A'"),
    ],
)
def test_names_that_no_script_takes(names, told):
    with pytest.raises(DatabaseError, match=told):
        grants(Accounts(*names), schema="cotrain", backend="postgresql")


def test_grants_of_an_unknown_backend():
    with pytest.raises(DatabaseError, match="postgresql or mysql, found 'sqlite'"):
        grants(Accounts(), schema="cotrain", backend="sqlite")


def test_the_script_is_printed(capsys, monkeypatch):
    monkeypatch.setenv("COTRAIN_SCHEMA", "lab_7")
    assert main(["db", "grants", "--worker", "gpu", "--backend", "mysql"]) == 0
    out = capsys.readouterr().out
    assert r"GRANT SELECT, INSERT, UPDATE ON `lab\_7`.* TO 'gpu'@'%';" in out
    assert "cotrain_admin" in out
