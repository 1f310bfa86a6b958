"""A connection to the lab's database for as long as a command needs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def database(*, create: bool | None = None) -> Iterator[bool]:
    """Connected; gives whether the schema was made just now. The refusal of a right becomes one clear error."""
    from cotrain.tables.settings import database_settings

    settings = database_settings()  # before DataJoint reads the environment: its errors are long
    from cotrain.tables.connect import connect, disconnect
    from cotrain.tables.server import rights_told

    try:
        with rights_told(settings):
            yield connect(create=create)
    finally:
        disconnect()
