"""Does one network learn digits, simulated V1 neurons and their RDM at once as well as it learns each alone?

Data: 1,797 real handwritten digits that come with scikit-learn; patches of its two sample photographs with *simulated*
responses (no animal was recorded). Nothing is downloaded.

Command: cotrain enqueue digits_v1; cotrain work; cotrain report digits_v1 --out digits_v1.png   (or: make demo)
Time: 2 to 3 minutes on two free cores.
Expected, test split, seed 0, two threads (with one thread, or on another processor, the last two columns move by up to
.03, the first by .002):

| experiment | digits accuracy | simulated V1, median r a neuron | RDM, Spearman |
|---|---|---|---|
| co-trained | .989 | .735 | .402 |
| each alone | .991 | .756 | .432 |
| shuffled control | .993 | .038 | .046 |
"""

from __future__ import annotations

from collections.abc import Iterator

from cotrain import Experiment, Recipe
from cotrain.data import (
    DigitsConfig,
    MixingConfig,
    MultiTaskConfig,
    SelectTasksConfig,
    ShuffledConfig,
    SimulatedV1Config,
)
from cotrain.losses import CrossEntropyConfig, QuasiPoissonConfig, RdmMatchConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, RdmHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, TrainerConfig

DIGITS = TaskConfig(name="digits", tap="layer4", head=LinearHeadConfig(), objective=CrossEntropyConfig())
NEURONS = TaskConfig(
    name="simulated_v1",
    tap="layer2",
    head=GaussianReadoutConfig(output="elu"),
    objective=QuasiPoissonConfig(),
)
RDM = TaskConfig(name="simulated_rdm", tap="layer2", head=RdmHeadConfig(), objective=RdmMatchConfig())
BACKBONE = SmallCnnConfig(layers=((24, 7, 1), (32, 3, 2), (48, 3, 2), (64, 3, 2)))


class DigitsV1(Recipe):
    """Does one network learn digits, simulated V1 neurons and their RDM at once as well as it learns each alone?

    The neurons are simulated: no animal was recorded. The control learns the same responses no longer paired with
    their images, and is tested on true pairs.
    """

    def experiments(self) -> Iterator[Experiment]:
        """The co-trained network, a network for each task alone, and the shuffled control."""
        data = MultiTaskConfig(parts=(DigitsConfig(), SimulatedV1Config(stimuli=1500, rdm_task="simulated_rdm")))
        together = Experiment(
            "co-trained",
            data=data,
            model=SharedBackboneConfig(backbone=BACKBONE, tasks=(DIGITS, NEURONS, RDM)),
            trainer=TrainerConfig(
                epochs=20,
                optimiser=AdamWConfig(lr=1e-2),
                mixing=MixingConfig(main="digits", ratios=((1, (("simulated_v1", 2.0), ("simulated_rdm", 0.5))),)),
            ),
        )
        yield together
        # as many batches of the task as the co-trained network sees of it
        for label, task, epochs in (("digits only", DIGITS, 20), ("V1 only", NEURONS, 20), ("RDM only", RDM, 40)):
            yield together.vary(
                label,
                data=SelectTasksConfig(data=data, tasks=(task.name,)),
                model={"tasks": (task,)},
                trainer={"epochs": epochs, "mixing": {"main": task.name, "ratios": ()}},
            )
        yield together.vary(
            "shuffled control",
            data=ShuffledConfig(data=data, tasks=("simulated_v1", "simulated_rdm")),
        )
