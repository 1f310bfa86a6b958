"""Signals end training after the step at hand, which a checkpoint holds; real processes and real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cotrain import run
from cotrain.training import RunFolder, load_state
from cotrain.training._state import TrainingState
from cotrain.training._stopping import stop_requests


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
@pytest.mark.parametrize("batch", [3, 10, 20, 45])
def test_training_stops_after_the_step_and_goes_on_as_if_nothing_had_been(
    number, error, batch, finished, tiny, tmp_path, monkeypatch, assert_same_run
):
    experiment = tiny(checkpoint_steps=0)
    micro_step, count = TrainingState.micro_step, []

    def signalled(self, held):
        count.append(held.step_ends)
        if len(count) == batch:
            os.kill(os.getpid(), number)
        micro_step(self, held)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "micro_step", signalled)
        with pytest.raises(error) as told:
            run(experiment, out=tmp_path)
    if number == signal.SIGTERM:
        assert told.value.code == 143
    assert count[-1] and not any(count[batch - 1 : -1]), "the step was finished, and no other begun"
    newest = max((tmp_path / "checkpoints").iterdir(), key=lambda path: path.name)
    assert load_state(newest)["step"] == sum(count)
    run(experiment, out=tmp_path)
    whole = load_state(RunFolder(finished.folder).best)["model"]
    assert all((value == whole[name]).all() for name, value in load_state(RunFolder(tmp_path).best)["model"].items())


def test_handlers_are_the_callers_again(digits, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    run(digits(epochs=1), out=tmp_path)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_second_signal_acts_at_once_and_one_at_the_end_is_not_lost():
    reached = []

    def signalled(number, times):
        with stop_requests() as request:
            for _ in range(times):
                os.kill(os.getpid(), number)
                reached.append(bool(request))

    with pytest.raises(KeyboardInterrupt):
        signalled(signal.SIGINT, 2)
    assert reached == [True]
    with pytest.raises(SystemExit, match="143"):
        signalled(signal.SIGTERM, 1)
    assert reached == [True, True]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_requests() as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert not request
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_signals_are_left_alone():
    found = []

    def body():
        before = signal.getsignal(signal.SIGTERM)
        with stop_requests() as request:
            found.append((bool(request), signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [(False, True)]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_command_that_is_told_to_stop_has_saved_its_last_step(number, status, digits, tmp_path):
    """As in a container that is stopped."""
    file = tmp_path / "experiment.yaml"
    file.write_text(digits(epochs=500).to_yaml())
    command = [sys.executable, "-m", "cotrain.cli", "run", str(file), "--out", str(tmp_path / "runs")]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("step-*.pt"))) < 2:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.05)
    before = max(path.name for path in tmp_path.rglob("step-*.pt"))
    child.send_signal(number)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == status, said
    assert "Stopping after this step" in said and "Traceback" not in said
    assert max(path.name for path in tmp_path.rglob("step-*.pt")) > before
