"""What a squared difference of two RDMs consists of: their level, their scale, and their geometry."""

from __future__ import annotations

from dataclasses import dataclass

from cotrain.analysis._arrays import Given
from cotrain.analysis._tagged_rdm import Rdm, only_known, same_stimuli
from cotrain.dissimilarity import pairs
from cotrain.errors import DataError


@dataclass(frozen=True)
class MseParts:
    """Parts of the mean squared difference of two RDMs over pairs of stimuli, each 0 or more.

    Args:
        offset: (mean of the one - mean of the other)^2: what one constant added to an RDM can take away.
        scale: (standard deviation of the one - that of the other)^2.
        shape: 2 * both standard deviations * (1 - Pearson correlation): all that is of geometry.
    """

    offset: float
    scale: float
    shape: float

    @property
    def total(self) -> float:
        """The mean squared difference."""
        return self.offset + self.scale + self.shape

    @property
    def shares(self) -> tuple[float, float, float]:
        """Of offset, scale and shape in the total; NaN where there is no difference."""
        whole = self.total or float("nan")
        return self.offset / whole, self.scale / whole, self.shape / whole


def mse_decomposition(model_rdm: Given | Rdm, target_rdm: Given | Rdm) -> MseParts:
    """Split the mean squared difference of two RDMs, which a loss of raw dissimilarities makes small, into its parts.

    The identity is that of Kobayashi & Salam (2000, Agronomy Journal 92:345, equations 9 to 12): with standard
    deviations over pairs, s and t, MSE = (difference of means)^2 + (s - t)^2 + 2 s t (1 - r). The diagonals do not
    count. A network can make such a loss small by its mean dissimilarity alone, without any of the target's geometry.

    Args:
        model_rdm, target_rdm: (stimuli, stimuli) in the same unit.

    Raises:
        DataError: There are several RDMs, a pair is NaN, or as `compare_rdms`.
    """
    first, second = same_stimuli(model_rdm, target_rdm)
    if first.ndim != 2 or second.ndim != 2:
        raise DataError(
            f"mse_decomposition takes two RDMs (stimuli, stimuli), found {tuple(first.shape)} and "
            f"{tuple(second.shape)}. Call it for each."
        )
    model = pairs(only_known(first, "The model's RDM"))
    target = pairs(only_known(second, "The target"))
    spread, wanted = model.std(correction=0), target.std(correction=0)
    covariance = ((model - model.mean()) * (target - target.mean())).mean()
    return MseParts(
        float((model.mean() - target.mean()) ** 2),
        float((spread - wanted) ** 2),
        float((2 * (spread * wanted - covariance)).clamp_min(0)),  # rounding may leave less than 0
    )
