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
def database(*, create: bool | None = None, patience: float = 0) -> Iterator[bool]:
    """Connected; gives whether the schema was made just now. The refusal of a right becomes one clear error.

    A database that does not answer is asked again for `patience` seconds.
    """
    from cotrain.tables.settings import database_settings

    settings = database_settings()  # before DataJoint reads the environment: its errors are long
    from cotrain.tables.connect import connect, disconnect
    from cotrain.tables.server import rights_told

    def persistently() -> bool:
        end, told = time.monotonic() + patience, False
        while True:
            try:
                return connect(create=create)
            except DatabaseUnavailableError as error:
                if time.monotonic() > end:
                    raise
                if not told:
                    log.warning("%s Trying again for %.0f s.", error, patience)
                    told = True
                time.sleep(PAUSE)

    try:
        with rights_told(settings):
            yield persistently()
    finally:
        disconnect()
