"""Sinks are told everything once, keep it as it was, and are closed whatever happens."""

from __future__ import annotations

import inspect
import json
import math
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cotrain.training
from cotrain import run
from cotrain.errors import TrainingError
from cotrain.training import JournalSink, Score, ScoreSink, TensorBoardSink
from cotrain.training._sinks import journal_scores, read_journal

EVENTS = ("start", "epoch", "finish", "close")
NAMES = st.sampled_from(["", "digits", "v1", "monkey_1"])
VALUES = st.floats(allow_nan=True, allow_infinity=False)


def score(epoch, value, metric="loss", split="validation", task="v1", session="") -> Score:
    return Score(epoch, task, session, split, metric, value)


def same(scores, others) -> bool:
    """Equal, bit for bit, where NaN is NaN."""
    return [(*s[:5], repr(float(s.value))) for s in scores] == [(*s[:5], repr(float(s.value))) for s in others]


class Recorder(ScoreSink):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events = []

    def start(self, history, resumed_epoch):
        self.events.append(("start", [*history], resumed_epoch))

    def epoch(self, epoch, scores, seconds):
        assert seconds >= 0
        self.events.append(("epoch", epoch, [*scores]))

    def finish(self, best_epoch, scores):
        self.events.append(("finish", best_epoch, [*scores]))

    def close(self):
        self.events.append(("close",))

    def names(self):
        return [event[0] for event in self.events]


def subclasses(base=ScoreSink):
    found = [c for c in base.__subclasses__() if c.__module__.startswith("cotrain.training")]
    return found + [deeper for c in found for deeper in subclasses(c)]


def test_sinks_of_cotrain_are_known():
    assert set(subclasses()) == {JournalSink, TensorBoardSink}


@pytest.mark.parametrize("sink", [ScoreSink, *subclasses()])
def test_every_sink_has_the_methods_of_the_base_with_their_signatures(sink):
    for name in EVENTS:
        assert inspect.signature(getattr(sink, name)) == inspect.signature(getattr(ScoreSink, name))
        assert inspect.getdoc(getattr(sink, name))
    own = {name for name in vars(sink) if not name.startswith("_") and callable(getattr(sink, name))}
    assert own <= {*EVENTS}, "a method that nobody calls"
    assert sink.__name__ in cotrain.training.__all__


def test_the_base_does_nothing():
    sink = ScoreSink()
    assert [sink.start([], None), sink.epoch(0, [], 0.0), sink.finish(1, []), sink.close()] == [None] * 4


def test_a_sink_hears_all_in_order_and_once(tiny, finished, tmp_path):
    sink = Recorder()
    run(tiny(), out=tmp_path, sinks=[sink])
    last = int(finished.scores.epoch.max())
    assert sink.names() == ["start", *["epoch"] * (last + 1), "finish", "close"]
    assert sink.events[0] == ("start", [], None)
    epochs = [event for event in sink.events if event[0] == "epoch"]
    assert [event[1] for event in epochs] == list(range(last + 1))
    told = [s for event in sink.events[1:-1] for s in event[2]]
    assert all(s.epoch == event[1] for event in sink.events[1:-1] for s in event[2])
    assert len({s[:5] for s in told}) == len(told), "one value for each"
    assert same(told, [Score(*row) for row in finished.scores.itertuples(index=False)])
    assert {s.split for s in epochs[0][2]} == {"validation"}, "nothing was trained before the first epoch"


def test_a_sink_that_comes_back_hears_the_history_and_then_the_rest(tiny, finished, tmp_path, pull_plug):
    first, second = Recorder(), Recorder()
    pull_plug(tiny(), tmp_path, after=55, sinks=[first])
    run(tiny(), out=tmp_path, sinks=[second])
    assert first.names() == ["start", "epoch", "epoch", "epoch", "close"]
    told = [s for event in first.events[1:-1] for s in event[2]]
    _, history, resumed = second.events[0]
    assert resumed == 2 and same(history, told)
    assert next(event[1] for event in second.events if event[0] == "epoch") == 3
    rest = [s for event in second.events[1:-1] for s in event[2]]
    assert same(history + rest, [Score(*row) for row in finished.scores.itertuples(index=False)])


class Broken(Recorder):
    """Fails at one event."""

    def __init__(self, at) -> None:
        super().__init__()
        self.at = at

    def start(self, history, resumed_epoch):
        super().start(history, resumed_epoch)
        assert self.at != "start", "broken at start"

    def epoch(self, epoch, scores, seconds):
        assert self.at != "epoch", "broken at epoch"

    def close(self):
        super().close()
        assert self.at != "close", "broken at close"


@pytest.mark.parametrize("at", ["start", "epoch", "close"])
def test_every_sink_is_closed_once_whichever_fails(at, digits, tmp_path):
    sinks = [Recorder(), Broken(at), Recorder()]
    with pytest.raises(AssertionError, match=f"broken at {at}"):
        run(digits(), out=tmp_path, sinks=sinks)
    assert [sink.names().count("close") for sink in sinks] == [1, 1, 1]
    run(digits(), out=tmp_path)  # and TensorBoard's file was closed, or Python would warn of it


def test_sinks_are_closed_when_training_fails(digits, tmp_path):
    sink = Recorder()
    optimiser = digits().trainer.optimiser.replace(lr=1e30)
    with pytest.raises(TrainingError, match="is not finite"):
        run(digits(optimiser=optimiser), out=tmp_path, sinks=[sink])
    assert sink.names() == ["start", "epoch", "close"]


@given(values=st.lists(st.tuples(NAMES, NAMES, VALUES), max_size=6))
def test_a_journal_gives_back_what_it_was_told(values, tmp_path_factory):
    sink = JournalSink(tmp_path_factory.mktemp("journal") / "journal.jsonl")
    scores = [score(1, value, task=task, session=session) for task, session, value in values]
    sink.start([], None)
    sink.epoch(1, scores, 0.5)
    sink.finish(1, [score(1, math.nan, split="test")])
    assert same(journal_scores(sink.path), [*scores, score(1, math.nan, split="test")])
    text = sink.path.read_text()
    assert "NaN" not in text and len(text.splitlines()) == 2
    assert [json.loads(line).get("finished") for line in text.splitlines()] == [None, True]
    assert json.loads(text.splitlines()[0])["seconds"] == 0.5
    assert json.loads(text.splitlines()[1])["scores"] == [["v1", "", "test", "loss", None]]


def test_resuming_rewrites_the_journal_from_the_history(tmp_path):
    sink = JournalSink(tmp_path / "journal.jsonl")
    history = [score(0, 3.0), score(1, math.nan), score(1, 0.1 + 0.2, "accuracy")]
    sink.start([], None)
    sink.epoch(0, history[:1], 0.25)
    sink.epoch(1, [score(1, 99.0)], 0.75)
    sink.epoch(2, [score(2, 1.0)], 1.0)
    sink.finish(1, [score(1, 1.0, split="test")])
    sink.path.write_text(sink.path.read_text() + '{"epoch": 3, "sco')
    sink.start(history, 1)
    assert same(journal_scores(sink.path), history)
    assert [line["seconds"] for line in read_journal(sink.path)] == [0.25, 0.75], "times are kept"
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]
    sink.start([], None)
    assert sink.path.read_text() == ""


def test_a_journal_that_lost_its_beginning_is_made_whole_from_the_history(tmp_path):
    sink = JournalSink(tmp_path / "journal.jsonl")
    sink.start([score(0, 3.0), score(1, 2.0)], 1)
    assert same(journal_scores(sink.path), [score(0, 3.0), score(1, 2.0)])
    assert [line["seconds"] for line in read_journal(sink.path)] == [None, None]


def test_a_torn_line_ends_a_journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    assert read_journal(path) == []
    path.write_text('{"epoch": 0, "scores": []}\n{"epoch": 1, "scor')
    assert read_journal(path) == [{"epoch": 0, "scores": []}]


def curves(folder) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads from a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def expected(scores) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for epoch, task, session, split, metric, value in scores.itertuples(index=False):
        tag = "/".join(part for part in (task, session, metric, split) if part)
        found.setdefault(tag, []).append((epoch, struct.unpack("f", struct.pack("f", value))[0]))
    return found


def test_tensorboard_shows_what_the_journal_holds(finished):
    found = curves(finished.folder / "tensorboard")
    seconds = found.pop("seconds")
    assert found == expected(finished.scores)
    assert [step for step, _ in seconds] == list(range(finished.scores.epoch.max() + 1))
    assert "simulated_v1/simulated1/correlation/validation" in found and "digits/accuracy/test" in found
    assert all(a < b for curve in found.values() for (a, _), (b, _) in pairwise(curve))


@pytest.mark.parametrize("after", [0, 30, 55])
def test_tensorboard_shows_each_epoch_once_after_interruptions(after, tiny, finished, tmp_path, pull_plug):
    pull_plug(tiny(), tmp_path, after=after)
    first = {name: dict(points) for name, points in curves(tmp_path / "tensorboard").items()}
    assert first["digits/accuracy/validation"], "what was told is on the disk, not in the memory of a process"
    run(tiny(), out=tmp_path)
    found = curves(tmp_path / "tensorboard")
    found.pop("seconds")
    assert found == expected(finished.scores)


def test_tensorboard_begins_again_where_no_checkpoint_was_saved(tmp_path):
    for value in (1.0, 2.0):
        sink = TensorBoardSink(tmp_path)
        sink.start([], None)
        sink.epoch(0, [score(0, value)], 0.0)
        sink.close()
    assert curves(tmp_path)["v1/loss/validation"] == [(0, 2.0)]


def test_a_killed_process_leaves_its_curves_on_the_disk(tmp_path):
    sink = TensorBoardSink(tmp_path)
    sink.start([], None)
    sink.epoch(0, [score(0, 1.0), score(0, math.nan, "correlation")], 0.0)
    found = curves(tmp_path)  # while the writer is open: nothing waits in its queue
    assert found["v1/loss/validation"] == [(0, 1.0)] and math.isnan(found["v1/correlation/validation"][0][1])
    sink.close()
