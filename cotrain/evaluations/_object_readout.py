"""How well objects can be read out of a layer of a finished run, on held-out images of any labelled data."""

from __future__ import annotations

from typing import Literal

from cotrain.analysis import SvmScore, extract, linear_svm_score
from cotrain.config import Config
from cotrain.data import Data
from cotrain.errors import DataError, did_you_mean
from cotrain.resolve import build
from cotrain.training import RunResult


def object_readout(
    run: RunResult,
    labelled: Config,
    layer: str,
    *,
    task: str = "objects",
    split: Literal["train", "validation", "test"] = "test",
    pool: bool = True,
) -> SvmScore:
    """Accuracy of linear support vector machines on a layer's features, by nested cross-validation.

    Machines are trained and judged within the images of the split alone, each image being judged once. With the seed
    of the run the data are split as they were for it, and runs of one seed are asked with the same images and folds:
    so a student and what was finetuned from it can be compared in pairs.

    Args:
        run: A finished run of any tasks; its network saw none of the held-out images if its data are split alike.
        labelled: Config of data with a classification task, which the run itself may lack.
        layer: Module path in the backbone.
        task: The classification task.
        split: Whose images.
        pool: Whether maps are averaged over space; else each place is a feature, which takes far longer.

    Raises:
        DataError: The data have no such classification task, or too few images of an object.
        ModelError: The backbone has no such layer.
    """
    data: Data = build(labelled, seed=run.experiment.seed)
    kinds = {name: info.kind for name, info in data.info.tasks.items()}
    if kinds.get(task) != "classification":
        known = [name for name, kind in kinds.items() if kind == "classification"]
        raise DataError(
            f"The data have no classification task {task!r}.{did_you_mean(task, known)} They have: {known}."
        )
    (source,) = data.splits[split][task].values()
    shown_as = next(iter(run.model.taps))
    reduce = "average_pool" if pool else None
    features = extract(run.model, source.images, [layer], task=shown_as, reduce=reduce)[layer]
    return linear_svm_score(features, source.targets, variant="nested", seed=run.experiment.seed)
