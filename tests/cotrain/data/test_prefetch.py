"""Work that threads do ahead comes out in order, whatever their number; nothing hangs and nothing is lost."""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.data._prefetch import in_order

WORKERS = [0, 1, 3]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("cotrain-data")]


class Counted:
    """Items that say how many of them were read."""

    def __init__(self, number: int) -> None:
        self.number, self.read = number, 0

    def __iter__(self):
        for item in range(self.number):
            self.read += 1
            yield item


@settings(max_examples=30)
@given(st.lists(st.integers(), max_size=20), st.integers(0, 4))
def test_results_are_those_of_map(items, workers):
    assert list(in_order(lambda item: item * 3, items, workers=workers)) == [item * 3 for item in items]


@pytest.mark.parametrize("workers", WORKERS)
def test_the_order_of_items_is_kept_however_long_each_takes(workers):
    pauses = [random.Random(seed).choice([0, 0.001, 0.01]) for seed in range(40)]

    def work(item: int) -> int:
        time.sleep(pauses[item])
        return item

    assert list(in_order(work, range(40), workers=workers)) == list(range(40))


@pytest.mark.parametrize("workers", WORKERS)
def test_an_exception_of_the_work_reaches_the_caller_after_the_results_before_it(workers):
    def work(item: int) -> int:
        return 12 // (3 - item)

    results = in_order(work, range(8), workers=workers)
    found = [next(results) for _ in range(3)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert found == [4, 6, 12]
    assert not threads()


@pytest.mark.parametrize("workers", WORKERS)
def test_an_exception_of_the_items_reaches_the_caller(workers):
    def items():
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(in_order(lambda item: item, items(), workers=workers))
    assert not threads()


@pytest.mark.parametrize("workers", WORKERS)
def test_work_that_raises_stop_iteration_does_not_end_the_results_unseen(workers):
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(in_order(lambda item: next(iter(())), range(3), workers=workers))


@pytest.mark.parametrize("workers", WORKERS)
def test_closing_early_ends_the_threads_and_the_reading(workers):
    items, begun = Counted(1000), []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.002)
        return item

    with closing(in_order(work, items, workers=workers)) as results:
        assert [next(results), next(results)] == [0, 1]
    read, worked = items.read, len(begun)
    assert not threads()
    time.sleep(0.02)
    assert (items.read, len(begun)) == (read, worked)
    assert worked <= read <= 2 * workers + 2


@pytest.mark.parametrize("workers", WORKERS)
def test_reading_ahead_is_bounded_while_the_caller_is_slow(workers):
    items = Counted(60)
    for number, _ in enumerate(in_order(lambda item: item, items, workers=workers), 1):
        time.sleep(0.0005)
        assert items.read <= number + 2 * workers
    assert items.read == 60


def test_several_threads_work_at_once():
    both = threading.Barrier(3, timeout=30)  # breaks, and raises, unless three meet
    assert len(list(in_order(lambda item: both.wait(), range(9), workers=3))) == 9


@pytest.mark.parametrize("workers", WORKERS)
def test_nothing_is_begun_before_a_result_is_asked_for(workers):
    items = Counted(5)
    results = in_order(lambda item: item, items, workers=workers)
    assert items.read == 0 and not threads()
    results.close()
