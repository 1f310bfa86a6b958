"""What is written in the background is written in order, once, and no failure is lost."""

from __future__ import annotations

import logging
import threading

import pytest
import torch

from cotrain.training._writer import WAITING, BackgroundWriter, copied


def test_jobs_are_done_in_order_in_another_thread():
    writer, done = BackgroundWriter(), []
    for number in range(20):
        writer.put(lambda number=number: done.append((number, threading.current_thread() is threading.main_thread())))
    writer.wait()
    assert done == [(number, False) for number in range(20)]
    writer.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "cotrain-writer"]


def test_training_goes_on_while_something_is_written_but_not_far_ahead():
    writer, free, done = BackgroundWriter(), threading.Event(), []
    writer.put(free.wait)
    for number in range(WAITING):
        writer.put(lambda number=number: done.append(number))
    assert done == []
    late = threading.Thread(target=lambda: writer.put(lambda: done.append("late")))
    late.start()
    late.join(0.1)
    assert late.is_alive(), "one more has to wait for a place"
    free.set()
    late.join(5)
    writer.wait()
    assert done == [*range(WAITING), "late"]
    writer.close()


def fail():
    raise OSError("no space left")


def test_a_failure_is_raised_once_and_nothing_is_done_after_it():
    writer, done = BackgroundWriter(), []
    writer.put(fail)
    writer.put(lambda: done.append("after"))
    with pytest.raises(OSError, match="no space left"):
        writer.wait()
    writer.put(lambda: done.append("later"))
    writer.wait()
    writer.close()
    assert done == []


def test_a_failure_that_nobody_waited_for_is_logged(caplog):
    writer = BackgroundWriter()
    writer.put(fail)
    with caplog.at_level(logging.ERROR):
        writer.close()
    assert "Not written: no space left" in caplog.text


def test_a_writer_that_was_given_nothing_can_be_closed():
    writer = BackgroundWriter()
    writer.wait()
    writer.close()


def test_a_copy_has_tensors_of_its_own():
    weight = torch.nn.Parameter(torch.ones(3))
    state = {"weight": weight, "nested": [{"row": weight[:1]}, (1, "a", None)]}
    found = copied(state)
    with torch.no_grad():
        weight.zero_()
    assert found["weight"].tolist() == [1, 1, 1] and found["nested"][0]["row"].tolist() == [1]
    assert found["nested"][1] == (1, "a", None) and not found["weight"].requires_grad
