"""Several data sets as one, for a model that learns them together."""

from __future__ import annotations

from typing import ClassVar

from cotrain.config import Config
from cotrain.data._source import Data, join
from cotrain.errors import DataError
from cotrain.resolve import AnyConfig, build


class MultiTaskConfig(Config):
    """Data sets to be joined; their task names differ, or a neural task is spread over several with other sessions."""

    kind: ClassVar[str] = "cotrain.data.multi_task"
    parts: tuple[AnyConfig, ...]


def multi_task(config: MultiTaskConfig, *, seed: int) -> Data:
    """Build all parts with the same seed and join them; no image may stand in two splits of any of them."""
    if not config.parts:
        raise DataError("multi_task needs at least one part.")
    return join([build(part, seed=seed) for part in config.parts])
