"""Work that is done ahead by threads and handed out in order: the same results for any number of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """Yield `work(item)` of each item, in the order of the items.

    Args:
        work: Is called in other threads; decoding pictures and copying arrays let several run at once.
        items: Read as far ahead as threads are to be kept busy, no further.
        workers: Threads; 0 works in the caller's, when a result is asked for.
    """
    if workers == 0:
        for item in items:
            yield work(item)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="cotrain-data") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
