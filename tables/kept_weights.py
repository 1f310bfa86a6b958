"""The table of weights that runs kept while they trained, beside those of their best epoch."""

from __future__ import annotations

from typing import Any

from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.runs import TrainedModel

__all__ = ["KeptWeights", "TrainedModel"]  # the other one is what the definition refers to


@schema
class KeptWeights(dj.Manual):
    """Weights after epochs that `TrainerConfig.keep_epochs` names; stored with the run's result, or never.

    Of a run whose config named none, or that an older release stored, there are no rows.
    """

    definition = """
    # Weights of a finished run after one of its epochs
    -> TrainedModel
    epoch : int32                       # counted from 1
    ---
    kept_state : <weights@checkpoints>  # file of torch: path, size (bytes), SHA-256
    """

    @classmethod
    def epochs(cls, run: dict[str, Any]) -> list[int]:
        """After which epochs of a run there are weights."""
        return [row["epoch"] for row in (cls() & {"run_key": run["run_key"]}).proj().to_dicts(order_by="epoch")]
