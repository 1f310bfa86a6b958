"""The loss of a representation whose geometry is to match a target RDM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, ClassVar, Literal, get_args

import torch
from annotated_types import Gt, MinLen
from jaxtyping import Float
from torch import Tensor, nn

from cotrain.config import AddedLater, Config
from cotrain.dissimilarity import Dissimilarity, cosine, pairs, pearson, rdm, unbiased_cka
from cotrain.errors import ModelError, did_you_mean
from cotrain.losses._bounded import bounded
from cotrain.losses._objective import Objective, Weight
from cotrain.losses._soft_rank import ranks, soft_ranks
from cotrain.tasks import TaskInfo, require_kind

Comparison = Literal["pearson", "cosine", "mse", "fisher_z", "cka", "spearman"]
COMPARISONS: tuple[str, ...] = get_args(Comparison)
LayerWeights = Literal["equal", "learned"] | Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)]
Layers = Tensor | tuple[Tensor, ...]
"""(stimuli, features) of one layer, or of each of several."""
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
    if comparison == "fisher_z":
        _require_similarities(target)
    return _compared(rdm(features, dissimilarity), target, comparison)


class RdmMatchConfig(Config):
    """The difference between the RDM of the features and the target, over pairs of stimuli (see `rdm_loss`).

    By default 1 - Pearson of correlation distances. A learned weight is bounded whichever the comparison.

    Of a task with several taps, the sum over layers of gamma times the layer's RDM is compared with the target (Li et
    al. 2019, NeurIPS, who sum similarities; as the gammas sum to 1, this is the same). `layer_weights` are the gammas,
    which are divided by their sum: one number a tap, "equal" ones, or "learned": the softmax of a logit a tap, from
    equal ones on, without weight decay. "squared_euclidean" has the unit of a layer's features, so that layers with
    large ones count for more.
    """

    kind: ClassVar[str] = "cotrain.losses.rdm_match"
    weight: Weight = 1.0  # bounded and without a unit, so a fixed weight says what it means
    dissimilarity: Annotated[Dissimilarity, AddedLater(neutral="correlation")] = "correlation"  # of the features' RDM
    comparison: Annotated[Comparison, AddedLater(neutral="pearson")] = "pearson"  # of features' and target RDM
    layer_weights: Annotated[LayerWeights, AddedLater(neutral="equal")] = "equal"  # with several taps, see above


class RdmMatch(Objective):
    """`rdm_loss` as the objective of an RDM task, of one layer or of several whose RDMs are summed with weights.

    Args:
        weight, dissimilarity, comparison, layer_weights: As in `RdmMatchConfig`.
        layers: How many there are.
    """

    of_whole_batch: ClassVar[bool] = True

    def __init__(
        self,
        weight: Weight,
        dissimilarity: str = "correlation",
        comparison: str = "pearson",
        layer_weights: LayerWeights = "equal",
        layers: int = 1,
    ) -> None:
        super().__init__(weight)
        self.dissimilarity, self.comparison, self.layers = dissimilarity, comparison, layers
        self.layer_logits: nn.Parameter | None = None
        if layer_weights == "learned" and layers > 1:  # that of a single layer is 1
            self.layer_logits = nn.Parameter(torch.zeros(layers))
        given = layer_weights if isinstance(layer_weights, tuple) else (1.0,) * layers
        self.fixed_layer_weights = tuple(gamma / sum(given) for gamma in given)
        self._target_known = comparison != "fisher_z"

    def layer_weights(self) -> tuple[float, ...] | Float[Tensor, " layers"]:
        """What the RDM of each layer is multiplied by at present; they sum to 1."""
        return self.fixed_layer_weights if self.layer_logits is None else self.layer_logits.softmax(0)

    def loss(self, output: Layers, target: Float[Tensor, "stimuli stimuli"], session: str = "") -> Float[Tensor, ""]:
        """0 (same geometry) to 2, or in squared units of the dissimilarity ("mse") or of Fisher's z.

        Args:
            output: (stimuli, features), or one such tensor a layer. With more stimuli than the target has rows, these
                are the same number of stimuli of each group, ordered by group, and the RDM is one among the groups'
                mean features.
            target: Dissimilarities among stimuli or groups.
            session: Not used.

        Raises:
            ModelError: The number of stimuli is no multiple of that of the target's rows, or that of layers is not
                the objective's. Or the first target is not what "fisher_z" needs.
        """
        if not self._target_known:  # once: to look at a target is to wait for the GPU
            _require_similarities(target)
            self._target_known = True
        return _compared(self._rdm([_grouped(layer, len(target)) for layer in _each(output)]), target, self.comparison)

    @torch.no_grad()
    def rdm(self, output: Layers) -> Float[Tensor, "stimuli stimuli"]:
        """The RDM that the objective compares with a target, in float64: of the layer, or the weighted sum of theirs.

        Args:
            output: (stimuli, features), or one such tensor a layer, of stimuli or of the means of groups.
        """
        return self._rdm([layer.double() for layer in _each(output)])

    def _rdm(self, layers: list[Tensor]) -> Tensor:
        if len(layers) != self.layers:
            raise ModelError(f"The objective was made for {self.layers} layers, found the output of {len(layers)}.")
        rdms = [rdm(layer, self.dissimilarity) for layer in layers]
        if len(rdms) == 1:
            return rdms[0]
        with torch.autocast(rdms[0].device.type, enabled=False):
            gammas = self.layer_weights()
            if isinstance(gammas, Tensor):
                gammas = gammas.to(rdms[0])  # the scores of an evaluation are on the CPU, wherever the model is
            return torch.stack([gamma * held for gamma, held in zip(gammas, rdms, strict=True)]).sum(0)

    def parameters_as_scores(self) -> Iterator[tuple[str, float]]:
        """("layer_weight_1", gamma) and so on, in the order of the taps, where they are learnt."""
        yield from super().parameters_as_scores()
        if self.layer_logits is not None:
            for number, gamma in enumerate(self.layer_logits.detach().softmax(0).tolist(), 1):
                yield f"layer_weight_{number}", gamma


def rdm_match(task: TaskInfo, config: RdmMatchConfig, *, layers: int = 1) -> RdmMatch:
    """The objective of an RDM task with `layers` taps.

    Raises:
        ModelError: The task is of another kind, the comparison does not go with the dissimilarity, or there are not
            as many weights as taps.
    """
    require_kind(task, "rdm", config)
    _require_pair(config.dissimilarity, config.comparison)
    weights = config.layer_weights
    if isinstance(weights, tuple) and len(weights) != layers:
        raise ModelError(
            f"{config.kind}: layer_weights needs one number for each tap, {layers}; found {len(weights)}. Give "
            "as many, or 'equal'."
        )
    return RdmMatch(config.weight, config.dissimilarity, config.comparison, weights, layers)


def _compared(found: Tensor, target: Tensor, comparison: str) -> Tensor:
    with torch.autocast(found.device.type, enabled=False):
        return _COMPARE[comparison](found, target if target.dtype == torch.float64 else target.float())


def _each(output: Layers) -> tuple[Tensor, ...]:
    return (output,) if isinstance(output, Tensor) else output


def _grouped(features: Tensor, groups: int) -> Tensor:
    """Mean features of each group, of stimuli that are ordered by group, the same number of each."""
    stimuli = len(features)
    if stimuli == groups:
        return features
    if stimuli % groups:
        raise ModelError(
            f"A target of {groups} rows needs the features of {groups} stimuli, or of as many stimuli of each of "
            f"{groups} groups, ordered by group; found {stimuli} stimuli."
        )
    wide = features if features.dtype == torch.float64 else features.float()
    means: Tensor = wide.unflatten(0, (groups, stimuli // groups)).mean(1)
    return means


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
    return _mean((_z(pairs(found)) - _z(pairs(target))).square())


def _require_similarities(target: Tensor) -> None:
    wanted = pairs(target)
    if bool(((wanted < -1e-3) | (wanted > 2 + 1e-3)).any()):
        low, high = wanted.min().item(), wanted.max().item()
        raise ModelError(
            "comparison='fisher_z' needs a target of dissimilarities 1 - similarity, within 0 and 2; found "
            f"{low:.3g} to {high:.3g}. Use comparison='pearson', which takes any unit."
        )


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
