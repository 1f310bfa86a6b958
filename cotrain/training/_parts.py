"""The parts that a trainer's config names: built, and checked to be what the field is for."""

from __future__ import annotations

from typing import Any

from cotrain.config import Config
from cotrain.errors import TrainingError
from cotrain.resolve import build


def build_part(config: Config, field: str, kind: Any, *args: Any) -> Any:
    """Build what a field of the trainer's config names.

    Args:
        config: Of any builder.
        field: Its name, for errors.
        kind: The class of what is wanted.
        args: What builders of that sort are given before the config.

    Raises:
        TrainingError: It is something else.
    """
    wrong = f"{config.kind} is nothing for the trainer's field {field!r}"
    try:
        found = build(config, *args)
    except (TypeError, AttributeError) as error:  # a builder that takes other things than it was given
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise TrainingError(f"{wrong} ({reason}). Name another config there.") from error
    if not isinstance(found, kind):
        raise TrainingError(f"{wrong}: it gives a {type(found).__name__}. Name another config there.")
    return found
