"""Cross-entropy of class scores, weighted by a variance or with a temperature inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float, Int
from torch import Tensor, nn

from cotrain.config import AddedLater, Config
from cotrain.dissimilarity import full_precision
from cotrain.losses._bounded import bounded
from cotrain.losses._objective import Objective, Weight
from cotrain.tasks import TaskInfo, require_kind

LARGEST = 10.0  # of the logarithm of a temperature, either way


class CrossEntropyConfig(Config):
    """Cross-entropy of class scores, in nats.

    `label_smoothing` is the share of the target probability that all classes get alike (Szegedy et al. 2016, CVPR,
    section 7); the loss of validation and test is smoothed as well. `form` says what a "learned" `weight` learns:

    - "kendall": a variance that divides the loss (Kendall et al. 2018, equation 10). It is an approximation of
    - "temperature": scores are divided by a learnt temperature inside the softmax, the likelihood itself, never
      negative. The term has weight 1 then, or that of a number given as `weight`; the temperature is learnt with both.
    """

    kind: ClassVar[str] = "cotrain.losses.cross_entropy"
    weight: Weight = "learned"
    label_smoothing: Annotated[Annotated[float, Ge(0), Lt(1)], AddedLater(neutral=0.0)] = 0.0  # share, 0: none
    form: Annotated[Literal["kendall", "temperature"], AddedLater(neutral="kendall")] = "kendall"  # see above


class CrossEntropy(Objective):
    """Mean cross-entropy over images; its weight is the inverse temperature of Kendall et al., equation 10."""

    def __init__(self, weight: Weight, label_smoothing: float = 0.0) -> None:
        super().__init__(weight)
        self.label_smoothing = label_smoothing

    def loss(
        self, output: Float[Tensor, "images classes"], target: Int[Tensor, " images"], session: str = ""
    ) -> Float[Tensor, ""]:
        """Nats an image."""
        return nn.functional.cross_entropy(output, target, label_smoothing=self.label_smoothing)


class TemperedCrossEntropy(Objective):
    """Mean cross-entropy over images of softmax(scores / T), T = exp(t) learnt from 1, within exp(-10) and exp(10).

    Kendall, Gal & Cipolla 2018, CVPR, equation 8 with T their squared sigma, before the approximation that leads to
    their equation 10; Guo et al. 2017, ICML, section 4.2 fit it after training. It is never negative. At the optimum
    the mean score of the labels is the mean of the scores that the tempered softmax expects.
    """

    def __init__(self, weight: Weight, label_smoothing: float = 0.0) -> None:
        super().__init__(1.0 if weight == "learned" else weight)
        self.label_smoothing = label_smoothing
        self.log_temperature = nn.Parameter(torch.zeros(()))

    def loss(
        self, output: Float[Tensor, "images classes"], target: Int[Tensor, " images"], session: str = ""
    ) -> Float[Tensor, ""]:
        """Nats an image, at the present temperature."""
        # the scores of an evaluation are on the CPU, wherever the model is
        temperature = bounded(self.log_temperature, -LARGEST, LARGEST).exp().to(output.device)
        return nn.functional.cross_entropy(
            full_precision(output) / temperature, target, label_smoothing=self.label_smoothing
        )

    def parameters_as_scores(self) -> Iterator[tuple[str, float]]:
        """("temperature", T): above 1 the network is surer than it should be."""
        yield from super().parameters_as_scores()
        yield "temperature", self.log_temperature.detach().clamp(-LARGEST, LARGEST).exp().item()


def cross_entropy(task: TaskInfo, config: CrossEntropyConfig) -> CrossEntropy | TemperedCrossEntropy:
    """The objective of a classification task.

    Raises:
        ModelError: The task is of another kind.
    """
    require_kind(task, "classification", config)
    form = CrossEntropy if config.form == "kendall" else TemperedCrossEntropy
    return form(config.weight, config.label_smoothing)
