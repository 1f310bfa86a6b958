"""Questions to a database without a run, and about runs of which nothing is known yet."""

import pytest

from cotrain.tables.runs import Run, TrainedModel

RECIPE = "no recipe"


@pytest.fixture
def empty(lab):
    Run().delete()
    TrainedModel.jobs.delete_quick()
    return lab


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls", "--status", "done"),
        ("ls", "--where", "lr>=1e-4", "--score", "stripes accuracy > 0.9", "--json"),
        ("ls", "--tag", "paper", "--since", "2026-01-01"),
        ("watch", "--once"),
        ("rm", "--status", "failed"),
        ("gc",),
        ("retry", "--all"),
        ("reap",),
        ("work",),
        ("db", "check"),
    ],
    ids=" ".join,
)
def test_questions_to_an_empty_database(arguments, empty, command):
    status, _, err = command(*arguments)
    assert (status, err) == (0, "")


def test_questions_about_runs_that_wait(empty, command):
    empty.enqueue("Again")
    keys = [row["run_key"] for row in Run().proj().to_dicts()]
    for arguments in (
        ("ls", "--status", "queued", "--sort", "seed"),
        ("diff", *keys),
        ("watch", "--once"),
        ("show", keys[0]),
        ("export", "--out", str(empty.home / "exported")),
    ):
        status, out, err = command(*arguments)
        assert (status, err) == (0, ""), arguments
        assert out
    assert command("report", "Again")[2].startswith("cotrain: No run of tiny.Again is finished yet.")
    assert command("run", "--exact", keys[0])[0] == 1
    assert command("evaluate", "--suite", "neuron_scores")[0] in (0, 1)
