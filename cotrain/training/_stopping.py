"""SIGTERM and Ctrl-C wait for the end of an optimiser step, so that nothing that was trained is lost."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

ONE_REQUEST_SECONDS = 2.0  # a launcher may pass on a signal that its processes were sent as well


class StopRequest:
    """Whether a signal has asked to stop; the trainer looks at it between optimiser steps."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.since = -math.inf  # seconds of the clock when it came

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
def stop_requests(*, several: bool = False) -> Iterator[StopRequest]:
    """Within, SIGTERM and Ctrl-C are only noted; given a second time they act at once, and at the end in any case.

    A signal that the process ignores stays ignored. Outside the main thread, which alone is told of signals, nothing is
    noted. Where `several` processes train, what comes again within two seconds is the same request.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of handlers
        if several and time.monotonic() - request.since < ONE_REQUEST_SECONDS:
            return
        request.obey()
        request.signal, request.since = number, time.monotonic()
        log.warning("Stopping after this step; a second signal stops at once, and goes back to the last checkpoint.")

    numbers = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    request.obey()
