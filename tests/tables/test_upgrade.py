"""Schemas of other versions: what is refused, and what `upgrade` adds."""

import re
import uuid

import pytest

from cotrain.cli import main
from cotrain.errors import DatabaseError
from cotrain.tables import configs, upgrade, version
from cotrain.tables.connect import connect
from cotrain.tables.evaluations import (
    LinearSvmScores,
    Manifolds,
    NeuralRegression,
    NoiseAccuracy,
    NoiseMixture,
    Robustness,
    Rsa,
    SitScores,
    SmoothManifolds,
)
from cotrain.tables.kept_weights import KeptWeights
from cotrain.tables.runs import Attempt, EpochScore, Provenance, RecipeRun, Run, TrainedModel
from cotrain.tables.tags import Note, Tag
from cotrain.tables.version import SCHEMA_VERSION, SchemaVersion


@pytest.fixture
def fresh(lab, monkeypatch):
    """The name of a second schema, connected; it is dropped in the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    connect(schema=name, create=True)
    monkeypatch.setenv("COTRAIN_SCHEMA", name)
    yield name
    connection = configs.schema.connection
    if not connection.is_connected:
        connection.connect()
    configs.schema.drop()
    monkeypatch.undo()
    connect()


def query(sql, *args):
    return configs.schema.connection.query(sql, args=args)


def layout():
    """Columns, keys and references of all tables, as the server has them."""
    asked = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_schema = %s"
    )
    keys = (
        "SELECT table_name, column_name, constraint_name LIKE %s FROM information_schema.key_column_usage "
        "WHERE table_schema = %s"
    )
    name = configs.schema.database
    kinds = [
        f"{table.__qualname__} {held.name} {held.original_type} {held.comment} {held.lineage}"
        for table in upgrade.tables()
        for held in table().heading.attributes.values()
    ]
    return sorted(map(str, query(asked, name))), sorted(map(str, query(keys, "PRIMARY", name))), sorted(kinds)


def drop_column(table, column):
    """As a release had it that did not know the column."""
    connection = configs.schema.connection
    if connection.adapter.backend == "mysql":
        found = query(
            "SELECT constraint_name FROM information_schema.key_column_usage "
            "WHERE table_schema = %s AND table_name = %s AND column_name = %s AND referenced_table_name IS NOT NULL",
            *(configs.schema.database, table.table_name, column),
        ).fetchall()
        for (name,) in found:
            query(f"ALTER TABLE {table.full_table_name} DROP FOREIGN KEY `{name}`")
    query(f"ALTER TABLE {table.full_table_name} DROP COLUMN {column}")


def make_older():
    """The tables of a time before versions, with the run of `Seed` 3 in them."""
    for table in (Note, Tag, SchemaVersion):
        table().drop_quick()
    drop_column(RecipeRun, "provenance_key")
    drop_column(RecipeRun, "enqueued_by")
    drop_column(Attempt, "worker")
    drop_column(Provenance, "environment")


def test_an_older_schema_is_refused_and_upgraded(fresh, lab, capsys):
    lab.enqueue("Again")
    wanted = layout()
    make_older()
    with pytest.raises(
        DatabaseError,
        match=rf"^The schema '{fresh}' has version 0, and .* needs version {SCHEMA_VERSION}\. `cotrain db",
    ):
        connect()
    lines = [
        "column environment : json of Provenance",
        "column provenance_key (a reference) of RecipeRun",
        "column enqueued_by : varchar(64) of RecipeRun",
        "column worker : varchar(32) of Attempt",
        "table Tag",
        "table Note",
        "table SchemaVersion",
    ]
    assert main(["db", "upgrade", "--dry-run"]) == 0
    assert capsys.readouterr().out == "".join(f"would add {line}\n" for line in lines)
    with pytest.raises(DatabaseError, match="has version 0"):
        connect()
    assert main(["db", "upgrade"]) == 0
    assert capsys.readouterr().out == "".join(f"added {line}\n" for line in lines)
    connect()
    for found, expected in zip(layout(), wanted, strict=True):
        assert found == expected
    assert len(Run()) == len(RecipeRun()) == 2
    assert set((RecipeRun() * Run()).to_arrays("enqueued_by")) == {""}
    assert len(RecipeRun() * Provenance()) == 0, "the reference is known, and empty"
    assert main(["db", "upgrade"]) == 0
    assert capsys.readouterr().out == "Nothing is missing.\n"


OF_VERSION_2 = (Robustness, NoiseMixture, Rsa, SitScores, LinearSvmScores)
OF_VERSION_3 = (NeuralRegression, Manifolds, SmoothManifolds)


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions_get_the_tables_that_came_later(version, fresh, capsys):
    """Also the column of `NoiseAccuracy.Level` that came with version 2; what it holds already stays."""
    wanted = layout()
    brought = OF_VERSION_3 if version == 2 else (*OF_VERSION_2, *OF_VERSION_3)
    for table in brought:
        for held in (*(part() for part in table.parts()), table(), table.jobs):
            held.drop_quick()
    KeptWeights().drop_quick()
    lines = ["table KeptWeights"]
    if version == 1:
        drop_column(NoiseAccuracy.Level, "top5")
        lines.append("column top5 : float64 of NoiseAccuracy.Level")
    query(f"DELETE FROM {SchemaVersion.full_table_name}")
    SchemaVersion.insert1({"schema_version": version, "written_by": "0.1.0"})
    with pytest.raises(DatabaseError, match=rf"has version {version}, and .* needs version {SCHEMA_VERSION}\."):
        connect()
    assert main(["db", "upgrade"]) == 0
    told = capsys.readouterr().out
    lines += [f"{what} {table.__name__}" for table in brought for what in ("queue of table", "table")]
    lines += [f"table {table.__name__}.{part.__name__}" for table in brought for part in table.parts()]
    assert sorted(told.splitlines()) == sorted(f"added {line}" for line in lines)
    connect()
    assert layout() == wanted
    assert [len(table.jobs) for table in brought] == [0] * len(brought)


def test_tables_that_were_half_made(fresh, capsys):
    """As where a process that makes the schema is killed."""
    for table in (Note(), Tag(), TrainedModel.Score(), TrainedModel.jobs, EpochScore(), SchemaVersion()):
        table.drop_quick()
    assert main(["db", "upgrade"]) == 0
    assert "added queue of table TrainedModel\n" in capsys.readouterr().out
    connect()
    assert len(TrainedModel.jobs) == 0


def test_a_newer_schema(fresh, capsys):
    SchemaVersion.insert1({"schema_version": 1000, "written_by": "9.9.9"})
    told = rf"The schema '{fresh}' was written by cotrain 9\.9\.9 and has version 1000; .* Update cotrain here\."
    for words in (["ls"], ["db", "upgrade"], ["db", "init"], ["db", "check"]):
        assert main(words) == 1
        assert re.fullmatch(rf"cotrain: {told}\n", capsys.readouterr().err)


def test_what_adding_cannot_mend(fresh, lab, capsys):
    lab.enqueue("Again")
    query(f"DELETE FROM {SchemaVersion.full_table_name}")
    drop_column(RecipeRun, "label")
    longer = "ALTER COLUMN question TYPE" if configs.schema.connection.adapter.backend != "mysql" else "MODIFY question"
    from cotrain.tables.runs import Recipe

    query(f"ALTER TABLE {Recipe.full_table_name} {longer} varchar(2000)")
    query(f"ALTER TABLE {Tag.full_table_name} DROP COLUMN tag_by")
    if configs.schema.connection.adapter.backend == "postgresql":
        query(f"COMMENT ON COLUMN {Recipe.full_table_name}.question IS ':varchar(2000):'")
    assert main(["db", "upgrade"]) == 1
    err = capsys.readouterr().err
    assert "column label : varchar(128) of RecipeRun: the table has rows, and there is no value for them\n" in err
    assert "column question : varchar(1024) of Recipe: its type is varchar(2000) there" in err
    assert err.startswith(f"cotrain: The schema '{fresh}' cannot be upgraded by adding alone, and nothing was added:\n")
    assert "tag_by" not in err
    configs.schema.connection.connect()
    found = version.look(configs.schema.connection, fresh)
    assert "column tag_by : varchar(64) of Tag" in map(str, upgrade.differences(found.tables)), "it was not added"


def test_a_schema_that_is_not_there(lab, monkeypatch, capsys):
    near = lab.schema[:-1] + "_"
    monkeypatch.setenv("COTRAIN_SCHEMA", near)
    for words in (["ls"], ["db", "upgrade"], ["db", "check"]):
        assert main(words) == 1
        assert re.fullmatch(
            rf"cotrain: There is no schema '{near}' with cotrain's tables at \S+, .* Did you mean '{lab.schema}'\? "
            r"COTRAIN_SCHEMA .*`cotrain db init` makes it\.\n",
            capsys.readouterr().err,
        )
    monkeypatch.undo()
    connect()


def test_init_makes_a_schema_once(lab, monkeypatch, capsys):
    name = f"test_{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("COTRAIN_SCHEMA", name)
    assert main(["db", "init"]) == 0
    assert capsys.readouterr().out == f"The schema {name} is made.\n"
    assert main(["db", "init"]) == 0
    assert capsys.readouterr().out == f"The schema {name} was there already.\n"
    connect()
    assert SchemaVersion().fetch1("schema_version") == SCHEMA_VERSION
    configs.schema.drop()
    monkeypatch.undo()
    connect()
