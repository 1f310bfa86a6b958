"""The loss of a representation whose geometry is to match a target RDM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from cotrain.config import AddedLater, Config
from cotrain.dissimilarity import Dissimilarity, cosine, pairs, pearson, rdm, unbiased_cka
from cotrain.errors import ModelError, did_you_mean
from cotrain.losses._bounded import bounded
from cotrain.losses._objective import Objective, Weight
from cotrain.losses._soft_rank import ranks, soft_ranks
from cotrain.tasks import TaskInfo, require_kind

Comparison = Literal["pearson", "cosine", "mse", "fisher_z", "cka", "spearman"]
COMPARISONS: tuple[str, ...] = get_args(Comparison)
LARGEST_SIMILARITY = 0.999  # whose Fisher z is 3.8; that of 1 is infinite


def rdm_loss(
    features: Float[Tensor, "stimuli features"],
    target: Float[Tensor, "stimuli stimuli"],
    *,
    dissimilarity: str = "correlation",
    comparison: str = "pearson",
) -> Float[Tensor, ""]:
    """How far the geometry of features is from a target RDM, over pairs of stimuli; never negative but for rounding.

    The comparisons, d being the features' dissimilarities and t the target's; the diagonals do not count:

    - "pearson": 1 - Pearson correlation of d and t, 0 to 2. It leaves out level and scale, in which RDMs of noisy
      recordings differ for no reason of geometry;
    - "cosine": 1 - cosine of d and t, 0 to 2. It leaves out the scale only; for distances whose zero means something;
    - "mse": mean of (d - t)^2, in squared units of the dissimilarity, which must be that of the target (McClure &
      Kriegeskorte 2016, Frontiers in Computational Neuroscience 10:131);
    - "fisher_z": mean of (arctanh(1 - d) - arctanh(1 - t))^2, similarities being kept within +-0.999 (Li et al. 2019,
      NeurIPS, Learning from brains how to regularize machines). Both must be 1 - similarity: all dissimilarities but
      "squared_euclidean";
    - "cka": 1 - unbiased CKA, 0 to 2 (see `cotrain.dissimilarity.unbiased_cka`); 4 stimuli or more;
    - "spearman": 1 - Pearson correlation of the soft ranks of d, with a temperature of a tenth of the standard
      deviation of d, and the ranks of t, 0 to 2. It leaves out all of t but its order; a small loss remains
      where orders agree, as ranks are soft.

    With a single stimulus, or an RDM that is constant, "pearson", "cka" and "spearman" are 1 and pull at nothing. The
    numbers are float32 at least, under automatic mixed precision too.

    Args:
        features: One row a stimulus.
        target: Symmetric dissimilarities (not similarities) among the same stimuli.
        dissimilarity: Of the features' RDM; one of `cotrain.dissimilarity.DISSIMILARITIES`.
        comparison: Of the two RDMs, one of those above.

    Raises:
        ModelError: There is no such dissimilarity or comparison; or "fisher_z" is asked for what is no 1 - similarity.
    """
    _require_pair(dissimilarity, comparison)
    found = rdm(features, dissimilarity)
    with torch.autocast(features.device.type, enabled=False):
        return _COMPARE[comparison](found, target if target.dtype == torch.float64 else target.float())


class RdmMatchConfig(Config):
    """The difference between the RDM of the features and the target, over pairs of stimuli (see `rdm_loss`).

    By default 1 - Pearson of correlation distances. A learned weight is bounded whichever the comparison.
    """

    kind: ClassVar[str] = "cotrain.losses.rdm_match"
    weight: Weight = 1.0  # bounded and without a unit, so a fixed weight says what it means
    dissimilarity: Annotated[Dissimilarity, AddedLater(neutral="correlation")] = "correlation"  # of the features' RDM
    comparison: Annotated[Comparison, AddedLater(neutral="pearson")] = "pearson"  # of features' and target RDM


class RdmMatch(Objective):
    """`rdm_loss` as the objective of an RDM task."""

    def __init__(self, weight: Weight, dissimilarity: str = "correlation", comparison: str = "pearson") -> None:
        super().__init__(weight)
        self.dissimilarity, self.comparison = dissimilarity, comparison

    def loss(
        self, output: Float[Tensor, "stimuli features"], target: Float[Tensor, "stimuli stimuli"], session: str = ""
    ) -> Float[Tensor, ""]:
        """0 (same geometry) to 2, or in squared units of the dissimilarity ("mse") or of Fisher's z."""
        return rdm_loss(output, target, dissimilarity=self.dissimilarity, comparison=self.comparison)


def rdm_match(task: TaskInfo, config: RdmMatchConfig) -> RdmMatch:
    """The objective of an RDM task.

    Raises:
        ModelError: The task is of another kind, or the comparison does not go with the dissimilarity.
    """
    require_kind(task, "rdm", config)
    _require_pair(config.dissimilarity, config.comparison)
    return RdmMatch(config.weight, config.dissimilarity, config.comparison)


def _require_pair(dissimilarity: str, comparison: str) -> None:
    if comparison not in COMPARISONS:
        known = ", ".join(COMPARISONS)
        raise ModelError(
            f"There is no comparison {comparison!r} of RDMs; expected one of {known}."
            f"{did_you_mean(comparison, COMPARISONS)}"
        )
    if comparison == "fisher_z" and dissimilarity == "squared_euclidean":
        raise ModelError(
            "comparison='fisher_z' needs dissimilarities that are 1 - similarity, found 'squared_euclidean', which is "
            "not. Use dissimilarity='correlation', 'cosine' or 'centred_cosine', or comparison='mse'."
        )


def _mse(found: Tensor, target: Tensor) -> Tensor:
    return _mean((pairs(found) - pairs(target)).square())


def _fisher_z(found: Tensor, target: Tensor) -> Tensor:
    wanted = pairs(target)
    if bool(((wanted < -1e-3) | (wanted > 2 + 1e-3)).any()):
        low, high = wanted.min().item(), wanted.max().item()
        raise ModelError(
            "comparison='fisher_z' needs a target of dissimilarities 1 - similarity, within 0 and 2; found "
            f"{low:.3g} to {high:.3g}. Use comparison='pearson', which takes any unit."
        )
    return _mean((_z(pairs(found)) - _z(wanted)).square())


def _z(dissimilarity: Tensor) -> Tensor:
    return torch.atanh(bounded(1 - dissimilarity, -LARGEST_SIMILARITY, LARGEST_SIMILARITY))


def _mean(values: Tensor) -> Tensor:
    """0 where there are none."""
    return values.sum() / max(1, len(values))


_COMPARE: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pearson": lambda found, target: 1 - pearson(pairs(found), pairs(target)),
    "cosine": lambda found, target: 1 - cosine(pairs(found), pairs(target)),
    "mse": _mse,
    "fisher_z": _fisher_z,
    "cka": lambda found, target: 1 - unbiased_cka(found, target),
    "spearman": lambda found, target: 1 - pearson(soft_ranks(pairs(found)), ranks(pairs(target))),
}
