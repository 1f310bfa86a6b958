"""A connection to the lab's database for as long as a command needs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def database() -> Iterator[None]:
    from cotrain.tables.connect import connect, disconnect

    connect()
    try:
        yield
    finally:
        disconnect()
