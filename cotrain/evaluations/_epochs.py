"""Which of a run's weights an evaluation is of: those of the best epoch, the first ones, or those kept meanwhile."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import MinLen

Epochs = Annotated[tuple[Literal["best", "initial", "kept"], ...], MinLen(1)]
"""Of a config's field: "best" is the epoch that validation chose, "initial" the network as training began, epoch 0,
and "kept" every epoch after which `TrainerConfig.keep_epochs` kept weights. What two of them name is evaluated once."""
