"""What `db check` finds in a database that someone or something has damaged."""

import json
import re
import time

import pytest

from cotrain.cli import main
from cotrain.errors import DatabaseError
from cotrain.tables import check as checking
from cotrain.tables import configs
from cotrain.tables.check import check
from cotrain.tables.connect import connect
from cotrain.tables.runs import Attempt, Run, TrainedModel
from cotrain.tables.server import clock_skew
from cotrain.tables.tags import Note
from cotrain.tables.worker import work


@pytest.fixture
def one(lab):
    """The key of a finished run of `Again`; the other waits. All else is deleted."""
    connect()
    TrainedModel.jobs.delete_quick()
    Run().delete()
    for table in (configs.Dataset, configs.Model, configs.Trainer):
        table().delete()
    lab.enqueue("Again")
    assert work(recipe="tiny.Again", max_runs=1) == (1, 0)
    return TrainedModel().keys()[0]


def query(sql, *args):
    return configs.schema.connection.query(sql, args=args)


def edit(table, **values):
    """As someone does with an SQL client: in every row."""
    for column, value in values.items():
        query(f"UPDATE {table.full_table_name} SET {column} = %s", value)


def test_a_sound_database(one, command):
    assert check() == []
    assert command("db", "check") == (0, "Nothing is wrong, 0 warnings.\n", "")


def test_a_config_that_was_edited_by_hand(one, command):
    key = (Run() & one).fetch1("trainer_key")
    record = (configs.Trainer() & {"trainer_key": key}).fetch1("trainer_config")
    record["epochs"] = 77
    query(
        f"UPDATE {configs.Trainer.full_table_name} SET trainer_config = %s WHERE trainer_key = %s",
        *(json.dumps(record), key),
    )
    status, out, err = command("db", "check")
    assert (status, err) == (1, "")
    config, attributes, run, end = out.splitlines()
    assert re.fullmatch(rf"Trainer {key}: edited by hand: its content has the key \w{{32}}", config)
    assert attributes == f"Trainer {key}: rows of Attr that disagree with the config: epochs"
    assert re.fullmatch(rf"Run {one['run_key']}: edited by hand, or its configs were: .*", run)
    assert end == "3 wrong, 0 warnings."
    with pytest.raises(DatabaseError, match=rf"^Run {one['run_key']} reads back as \w+: its rows were changed by hand"):
        Run.load(one)


@pytest.mark.slow
def test_a_config_that_no_release_reads(one):
    key = (Run() & one).fetch1("model_key")
    query(
        f"UPDATE {configs.Model.full_table_name} SET model_config = %s WHERE model_key = %s",
        *(json.dumps({"kind": "elsewhere.model"}), key),
    )
    found = [str(finding) for finding in check() if "Attr" not in finding.text]
    assert len(found) == 1
    assert re.match(rf"warning: Model {key}: cannot be read here: .*elsewhere", found[0])


@pytest.mark.slow
def test_rows_to_search_by_that_disagree(one):
    query(f"DELETE FROM {configs.Dataset.Attr.full_table_name} WHERE path = %s", "path")
    found = check()
    assert {finding.text for finding in found} == {"rows of Attr that disagree with the config: path"}


def test_a_checkpoint_whose_file_is_gone(one, lab, command):
    for file in (lab.home / "store").rglob("*"):
        if file.is_file():
            file.unlink()
    status, out, _ = command("db", "check")
    assert status == 1
    assert re.match(
        rf"Run {one['run_key']}: The weights .* cannot be read: there is no such file\..*\n1 wrong, 0 warnings", out
    )
    assert command("db", "check", "--no-checkpoints")[0] == 0


def test_jobs_and_attempts_that_disagree(one):
    waiting = (Run() - TrainedModel().proj()).fetch1("run_key")
    TrainedModel.jobs.reserve({"run_key": waiting})
    assert check() == [], "the attempt may begin in a moment"
    edit(TrainedModel.jobs, reserved_time="2020-01-01 00:00:00")
    (found,) = check()
    assert str(found).startswith(f"Run {waiting}: a worker took it from the queue, and no attempt at it is running")
    TrainedModel.jobs.delete_quick()
    edit(Attempt, status="running")
    assert str(check()[0]).startswith(f"Run {one['run_key']}: an attempt is running, and no worker holds it")


@pytest.mark.slow
def test_jobs_of_runs_that_are_deleted_or_finished(one):
    waiting = TrainedModel.jobs.fetch1("run_key")
    (Run() & {"run_key": waiting}).delete()
    TrainedModel.jobs.insert1({**one, "status": "pending", "priority": 5})
    assert {str(finding) for finding in check()} == {
        f"warning: Run {waiting}: it stands in the queue, and is deleted",
        f"warning: Run {one['run_key']}: it is finished, and stands in the queue as 'pending'",
    }


@pytest.mark.slow
def test_a_part_of_a_run_that_is_missing(one):
    """Only a dump that was read in halves has this: foreign keys forbid it."""
    row = (Run() & one).fetch1()
    read = {"data": {row["dataset_key"]: None}, "model": {row["model_key"]: None}, "trainer": {}}
    (found,) = checking._runs([row], read)
    assert str(found) == f"Run {one['run_key']}: its trainer {row['trainer_key']} is missing"


def test_a_table_that_is_missing(one, lab, command):
    Note().drop_quick()
    assert command("db", "check")[:2] == (
        1,
        "tables: table Note: it is missing; `cotrain db upgrade` adds it\n1 wrong, 0 warnings.\n",
    )
    assert main(["db", "upgrade"]) == 0
    connect()
    assert check() == []


@pytest.mark.parametrize(("hours", "side"), [(1, "ahead of"), (-1, "behind")])
def test_a_clock_that_is_wrong(hours, side, lab):
    connection = configs.schema.connection
    ahead = clock_skew(connection, now=lambda: time.time() + 3600 * hours)
    assert round(ahead / 3600) == hours
    assert abs(clock_skew(connection)) < 3600, "no time zone"
    (found,) = checking._clock(now=lambda: time.time() + 3600 * hours)
    assert found.warning
    assert re.fullmatch(rf"warning: clock: this machine's clock is 3[56]\d\d s {side} the server's; set .*", str(found))
