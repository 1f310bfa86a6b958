"""The table of what finetuning changed, from the finished runs of a recipe in the database."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from cotrain.analysis import finetuning_deltas
from cotrain.config import Config
from cotrain.errors import DatabaseError
from cotrain.evaluations import object_readout
from cotrain.tables import queries
from cotrain.tables.restore import restore
from cotrain.tables.runs import Run, TrainedModel
from cotrain.training import RunFolder, load

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def readout_scores(recipe: str, labelled: Config, layer: str, *, task: str = "objects") -> pd.DataFrame:
    """Accuracy with which objects can be read out of each finished run of a recipe, on its held-out images.

    Args:
        recipe: Name of the recipe.
        labelled, layer, task: As `cotrain.evaluations.object_readout`.

    Returns:
        label, seed, score ("linear SVM") and value, one row a finished run.

    Raises:
        DatabaseError: No run of the recipe is finished.
    """
    import pandas as pd

    recipe = queries.find_recipe_name(recipe)
    runs = queries.runs(recipe=recipe)
    named = queries.scores(runs, session=None, recipe=recipe)[["run_key", "label", "seed"]].drop_duplicates()
    if named.empty:
        raise DatabaseError(f"No run of {recipe} is finished; {len(Run() & runs.proj())} are waiting or at work.")
    if without := len(Run() & runs.proj()) - len(TrainedModel() & runs.proj()):
        log.warning("%d runs of %s are not finished and not in the table.", without, recipe)
    rows = []
    for held in tqdm(list(named.itertuples()), desc="readout", unit="run", disable=None, delay=2, leave=False):
        with tempfile.TemporaryDirectory() as place:
            folder = RunFolder(Path(place) / held.run_key)
            restore({"run_key": held.run_key}, folder)
            score = object_readout(load(folder.path), labelled, layer, task=task)
        rows.append((held.label, held.seed, "linear SVM", score.mean))
    return pd.DataFrame(rows, columns=["label", "seed", "score", "value"])


def readout_deltas(recipe: str, before: str, labelled: Config, layer: str, *, task: str = "objects") -> pd.DataFrame:
    """What each finetuning of a recipe changed of that accuracy, paired over seeds (see `finetuning_deltas`).

    Args:
        recipe: Name of the recipe.
        before: Label of the student that the others started from.
        labelled, layer, task: As `cotrain.evaluations.object_readout`.

    Raises:
        DatabaseError: No run of the recipe is finished.
        CotrainError: The student is not among them.
    """
    return finetuning_deltas(readout_scores(recipe, labelled, layer, task=task), before)
