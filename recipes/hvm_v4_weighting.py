"""Does learning objects beside V4 cost V4 prediction, and which weighting of the two costs least?

Data: as in `hvm_v4`, 640 grey pictures of 8 objects, spike counts of 50 macaque V4 neurons (Cowley, Stan, Pillow &
Smith 2023, bioRxiv 2023.11.22.568315); `hvm640_v4/hvm640_v4_210325.npz` in the folder `COTRAIN_DATA`.

Command: cotrain enqueue hvm_v4_weighting; cotrain work; cotrain report hvm_v4_weighting --baseline "V4 only"
Needs: pip install 'cotrain[weighting]' for PCGrad and UPGrad.
Time: about a minute of one core for a run; 45 runs.
Expected, test split (96 pictures), mean of seeds 0 to 4; difference from V4 alone seed by seed, with its 95 % interval:

| experiment | objects, 8-way accuracy | V4, median r of 50 neurons | difference |
|---|---|---|---|
| V4 only | - | .481 | |
| objects only | .344 | - | |
| learned weights (the default) | .377 | .460 | -.021 [-.058, +.017] |
| equal weights | .360 | .462 | -.019 [-.044, +.006] |
| PCGrad | .360 | .460 | -.021 [-.057, +.016] |
| UPGrad | .371 | .458 | -.023 [-.063, +.017] |
| Nash bargaining | .344 | .495 | +.014 [-.018, +.046] |
| learned weights, with the RDM of V4 | .377 | .479 | -.002 [-.025, +.021] |
| shuffled responses | .342 | -.033 | -.513 [-.589, -.438] |

No weighting costs V4 more than five seeds can show. Against equal weights V4 gains by Nash bargaining (+.033 [+.009,
+.057]) and, with learned weights, by its RDM as a third task (+.017 [+.005, +.029]); these intervals are not corrected
for the number of comparisons. PCGrad and UPGrad do not help. The gradients say why: those of V4 and objects seldom
conflict (mean cosine .09 in the first ten epochs, .16 after thirty), so there is little to project away, but those of
V4 are a fifth as long, and Nash bargaining counts them four times as much as those of objects. Objects gain nothing
that five seeds show: +.033 [-.020, +.086] with learned weights. One recording, one network, 60 epochs: no more is
claimed.
"""

from __future__ import annotations

from collections.abc import Iterator

from cotrain import Experiment, Recipe
from cotrain.data import (
    ArraysConfig,
    JitterConfig,
    LabelArrayConfig,
    MixingConfig,
    ResponseArrayConfig,
    ResponseRdmConfig,
    SelectTasksConfig,
    ShuffledConfig,
)
from cotrain.losses import (
    CrossEntropyConfig,
    GaussianConfig,
    GradientAggregationConfig,
    NashBargainingConfig,
    RdmMatchConfig,
)
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, RdmHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, TrainerConfig

DATA = ArraysConfig(
    path="hvm640_v4/hvm640_v4_210325.npz",
    size=56,
    tasks=(
        LabelArrayConfig(task="objects"),
        ResponseArrayConfig(task="v4", session="210325", responses="v4_raw_210325"),
        ResponseRdmConfig(task="v4_rdm", responses="v4_avg_210325"),
    ),
)
OBJECTS = TaskConfig(name="objects", tap="layer4", head=LinearHeadConfig(), objective=CrossEntropyConfig())
NEURONS = TaskConfig(name="v4", tap="layer3", head=GaussianReadoutConfig(), objective=GaussianConfig())
RDM = TaskConfig(name="v4_rdm", tap="layer3", head=RdmHeadConfig(), objective=RdmMatchConfig())
EQUAL = (
    OBJECTS.replace(objective=CrossEntropyConfig(weight=1.0)),
    NEURONS.replace(objective=GaussianConfig(weight=1.0)),
)
BACKBONE = SmallCnnConfig(layers=((32, 5, 2), (48, 5, 2), (96, 3, 2), (128, 3, 2)))
JITTER = {
    "objects": JitterConfig(pixels=6, mirror=True),
    "v4": JitterConfig(pixels=2),
    "v4_rdm": JitterConfig(pixels=2),
}


class HvmV4Weighting(Recipe):
    """Does learning objects beside V4 cost V4 prediction, and which weighting of the two costs least?"""

    seeds = (0, 1, 2, 3, 4)

    def experiments(self) -> Iterator[Experiment]:
        """Each task alone; both with each weighting; with the RDM as a third task; and with shuffled responses."""
        learned = _experiment("learned weights", (OBJECTS, NEURONS), main="objects")
        yield _experiment("V4 only", (NEURONS,), main="v4")
        yield _experiment("objects only", (OBJECTS,), main="objects")
        yield learned
        equal = learned.vary("equal weights", model={"tasks": EQUAL}, trainer={"gradient_scores": True})
        yield equal
        yield equal.vary("PCGrad", trainer={"weighting": GradientAggregationConfig(method="PCGrad")})
        yield equal.vary("UPGrad", trainer={"weighting": GradientAggregationConfig(method="UPGrad")})
        yield equal.vary("Nash", trainer={"weighting": NashBargainingConfig()})
        yield _experiment("learned, with RDM", (OBJECTS, NEURONS, RDM), main="objects")
        yield learned.vary("shuffled", data=ShuffledConfig(data=learned.data, tasks=("v4",)))


def _experiment(label: str, tasks: tuple[TaskConfig, ...], *, main: str) -> Experiment:
    names = tuple(task.name for task in tasks)
    others = tuple((name, 1.0) for name in names if name != main)
    return Experiment(
        label,
        data=SelectTasksConfig(data=DATA, tasks=names),
        model=SharedBackboneConfig(backbone=BACKBONE, tasks=tasks),
        trainer=TrainerConfig(
            epochs=60,
            optimiser=AdamWConfig(lr=3e-3),
            augmentation=tuple((name, JITTER[name]) for name in names),
            mixing=MixingConfig(main=main, ratios=((1, others),) if others else ()),
        ),
    )
