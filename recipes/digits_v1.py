"""Does one network learn digits, simulated V1 neurons and their RDM at once as well as it learns each alone?"""

from __future__ import annotations

from collections.abc import Iterator

from cotrain import Experiment, Recipe
from cotrain.data import DigitsConfig, MixingConfig, MultiTaskConfig, ShuffledConfig, SimulatedV1Config
from cotrain.losses import CrossEntropyConfig, QuasiPoissonConfig, RdmMatchConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, RdmHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import TrainerConfig

DIGITS = TaskConfig(name="digits", tap="layer4", head=LinearHeadConfig(), objective=CrossEntropyConfig())
NEURONS = TaskConfig(
    name="simulated_v1",
    tap="layer2",
    head=GaussianReadoutConfig(output="elu", feature_l1=0.01),
    objective=QuasiPoissonConfig(),
)
RDM = TaskConfig(name="simulated_rdm", tap="layer2", head=RdmHeadConfig(), objective=RdmMatchConfig())

BACKBONE = SmallCnnConfig(layers=((24, 7, 1), (32, 3, 2), (48, 3, 2), (64, 3, 2)))
V1 = SimulatedV1Config(rdm_task="simulated_rdm")


class DigitsV1(Recipe):
    """Does one network learn digits, simulated V1 neurons and their RDM at once as well as it learns each alone?"""

    def experiments(self) -> Iterator[Experiment]:
        together = Experiment(
            "co-trained",
            data=MultiTaskConfig(parts=(DigitsConfig(), V1)),
            model=SharedBackboneConfig(backbone=BACKBONE, tasks=(DIGITS, NEURONS, RDM)),
            trainer=TrainerConfig(
                epochs=2,
                mixing=MixingConfig(main="digits", ratios=((1, (("simulated_v1", 1.0), ("simulated_rdm", 0.5))),)),
            ),
        )
        yield together
