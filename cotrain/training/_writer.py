"""Writes in the background, in order, so that training does not wait for a disk or a database."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor

log = logging.getLogger(__name__)

WAITING = 2  # jobs that may wait; each may hold a copy of the whole state


class BackgroundWriter:
    """Does what it is given in one thread, one after the other; after a failure it does nothing more."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def put(self, job: Callable[[], None]) -> None:
        """Have something done soon.

        Raises:
            BaseException: Whatever an earlier job raised.
        """
        self._raise()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="cotrain-writer", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def wait(self) -> None:
        """Wait until all is done.

        Raises:
            BaseException: Whatever a job raised.
        """
        self._jobs.join()
        self._raise()

    def close(self) -> None:
        """Wait until all is done and end the thread; a failure that nobody was told of is logged."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
        if self._error is not None:
            log.error("Not written: %s", self._error)
            self._error = None

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        failed = False
        while (job := self._jobs.get()) is not None:
            try:
                if not failed:
                    job()
            except BaseException as error:  # it is raised where training waits for it
                self._error, failed = error, True
            finally:
                self._jobs.task_done()
        self._jobs.task_done()


def copied(value: Any) -> Any:
    """A state with tensors of its own on the CPU: training goes on while it is written."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copied(held) for key, held in value.items()}
    if isinstance(value, list):
        return [copied(held) for held in value]
    if isinstance(value, tuple):  # some states are compared as tuples when they are loaded
        return tuple(copied(held) for held in value)
    return value
