"""SIGTERM and Ctrl-C wait for the end of an optimiser step, so that nothing that was trained is lost."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)


class StopRequest:
    """Whether a signal has asked to stop; the trainer looks at it between optimiser steps."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def obey(self) -> None:
        """Stop, if that was asked for.

        Raises:
            KeyboardInterrupt: On Ctrl-C.
            SystemExit: 143 on SIGTERM.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise SystemExit(128 + self.signal)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within, SIGTERM and Ctrl-C are only noted; given a second time they act at once, and at the end in any case.

    A signal that the process ignores stays ignored. Outside the main thread, which alone is told of signals, nothing is
    noted.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of handlers
        request.obey()
        request.signal = number
        log.warning("Stopping after this step; a second signal stops at once, and goes back to the last checkpoint.")

    numbers = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    request.obey()
