"""A connection to the lab's database for as long as a command needs it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

from cotrain.errors import DatabaseUnavailableError

log = logging.getLogger(__name__)

PAUSE = 2.0  # seconds between two tries


@contextlib.contextmanager
def database(*, patience: float = 0) -> Iterator[None]:
    """Connected to the database; one that does not answer is asked again for `patience` seconds."""
    from cotrain.tables.connect import connect, disconnect

    end, told = time.monotonic() + patience, False
    while True:
        try:
            connect()
            break
        except DatabaseUnavailableError as error:
            if time.monotonic() > end:
                raise
            if not told:
                log.warning("%s Trying again for %.0f s.", error, patience)
                told = True
            time.sleep(PAUSE)
    try:
        yield
    finally:
        disconnect()
