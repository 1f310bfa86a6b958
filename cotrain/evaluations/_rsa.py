"""How alike the geometries of a run's layers and of recordings are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, MinLen
from pydantic import AfterValidator
from torch import Tensor

from cotrain.analysis import compare_rdms, noise_ceiling, rdm, rsa_bootstrap
from cotrain.config import Config, NotIdentity
from cotrain.data import Data
from cotrain.evaluations._layer_features import Layers, Reduce, layer_features
from cotrain.evaluations._robustness import each_once
from cotrain.evaluations._rsa_targets import Responses, Target, targets_of
from cotrain.evaluations._stimulus_file import StimulusFileConfig
from cotrain.models import MultiTaskModel

NAN = float("nan")
BOOTSTRAPPED = ("pearson", "cosine", "spearman", "rho_a", "cka", "whitened_pearson")
HALVED = ("pearson", "spearman", "rho_a", "whitened_pearson")  # correlations, 0 of RDMs that have nothing in common
FEWEST_STIMULI = 6  # of a bootstrap

Dissimilarities = Annotated[
    tuple[Literal["correlation", "cosine", "centred_cosine", "squared_euclidean", "euclidean"], ...],
    MinLen(1),
    AfterValidator(each_once),
]
Comparison = Literal[
    "pearson", "spearman", "cosine", "tau_a", "tau_b", "rho_a", "cka", "unbiased_cka", "whitened_pearson", "bures"
]
Comparisons = Annotated[tuple[Comparison, ...], MinLen(1), AfterValidator(each_once)]


class RsaConfig(Config):
    """Representational similarity of layers to each RDM task, to the responses of each neural task, and to files."""

    kind: ClassVar[str] = "cotrain.evaluations.rsa"
    layers: Layers = ("blocks",)  # of the backbone, as of `cotrain.analysis.extract`
    dissimilarities: Dissimilarities = ("correlation",)  # of features, and of responses
    comparisons: Comparisons = ("spearman",)  # of RDMs
    tasks: tuple[str, ...] = ()  # RDM and neural tasks, by name; none: all
    split: Literal["validation", "test"] = "test"
    images: Annotated[int, Ge(6)] | None = None  # only the first so many of each source; none: all
    files: tuple[StimulusFileConfig, ...] = ()  # further targets: RDMs or responses with their images
    shown_as: str = ""  # of files: the model's task whose image size and normalisation are used; "": its first
    responses: Responses = "same"  # RDMs of responses: by the same dissimilarity, or crossvalidated from repeats
    reduce: Reduce = ""  # what is kept of each layer's features; "": all
    over: Literal["stimuli", "both"] = "stimuli"  # what the interval is over; both: also subjects, where there are
    draws: Annotated[int, Ge(0)] = 1000  # of the bootstrap, 2 or more; 0: no intervals
    halvings: Annotated[int, Ge(1)] = 20  # of repeats, for their ceiling
    seed: Annotated[int, Ge(0)] = 0  # of bootstrap, halvings and projections: the same for all runs
    batch_size: Annotated[int, Ge(1), NotIdentity()] = 64  # images at once


@dataclass(frozen=True)
class RsaScore:
    """How alike a layer's RDM and a target's are, by one dissimilarity and comparison; NaN where it is undefined.

    Args:
        target: A task, or a file's name.
        session: "" of tasks without any, of all sessions together, and of files.
        dissimilarity, comparison: As in the config.
        layer_place: Of the layer, in the order of a pass, from 0.
        layer: Its name.
        similarity: Larger is more alike; the mean over subjects.
        standard_error, low, high: Of the bootstrap, the interval of 95 %; NaN of comparisons without one.
        ceiling_lower, ceiling_upper: What the best model can reach; NaN where neither subjects nor repeats tell.
        ceiling_of: "subjects", "repeats", or "" where there is none.
        subjects, stimuli: How many; rows of the RDMs, where these are groups.
    """

    target: str
    session: str
    dissimilarity: str
    comparison: str
    layer_place: int
    layer: str
    similarity: float
    standard_error: float
    low: float
    high: float
    ceiling_lower: float
    ceiling_upper: float
    ceiling_of: str
    subjects: int
    stimuli: int


def rsa(
    model: MultiTaskModel,
    data: Data,
    config: RsaConfig,
    *,
    device: torch.device,
    seed: int = 0,  # noqa: ARG001 what is random is the same for all runs
) -> list[RsaScore]:
    """Compare each layer with each target; empty for data without a target.

    Args:
        model: On `device`.
        data: Those that it was trained on.
        config: What is compared.
        device: Where features and RDMs are computed, in float32; RDMs are compared in float64.
        seed: Not used.

    Raises:
        ModelError: There is no such layer.
        DataError: A target is no RDM, has more than 5,000 stimuli, or a file is not as the config says.
    """
    found: list[RsaScore] = []
    for target in rsa_targets(model, data, config):
        found += compared(model, target, config, device=device)
    return found


def rsa_targets(model: MultiTaskModel, data: Data, config: RsaConfig) -> Iterator[Target]:
    """What the layers are compared with."""
    return targets_of(
        model, data, tasks=config.tasks, split=config.split, images=config.images, files=config.files,
        shown_as=config.shown_as, responses=config.responses,
    )  # fmt: skip


def compared(model: MultiTaskModel, target: Target, config: RsaConfig, *, device: torch.device) -> list[RsaScore]:
    """The rows of one target: by dissimilarity, then comparison, then layer."""
    subjects = {name: target.rdms(name, config.responses) for name in config.dissimilarities}
    ways = [(name, comparison) for name in config.dissimilarities for comparison in config.comparisons]
    ceilings = {way: _ceiling(target, subjects[way[0]], *way, config) for way in ways}
    rows: dict[tuple[str, str], list[RsaScore]] = {way: [] for way in ways}
    with layer_rdms(model, target, config, device=device) as layers:
        for place, (layer, matrices) in enumerate(layers):
            for dissimilarity, comparison in ways:
                held = subjects[dissimilarity]
                lower, upper, source = ceilings[dissimilarity, comparison]
                score = RsaScore(
                    target.name, target.session, dissimilarity, comparison, place, layer,
                    float(compare_rdms(matrices[dissimilarity], held, comparison).mean()),
                    *_interval(matrices[dissimilarity], held, comparison, config),
                    lower, upper, source, len(held), held.shape[-1],
                )  # fmt: skip
                rows[dissimilarity, comparison].append(score)
    return [score for way in ways for score in rows[way]]


@contextlib.contextmanager
def layer_rdms(
    model: MultiTaskModel, target: Target, config: RsaConfig, *, device: torch.device
) -> Iterator[Iterator[tuple[str, dict[str, Tensor]]]]:
    """Gives (layer, {dissimilarity: float64 (rows, rows)}), one layer after the other, in the order of a pass."""

    def of_layer(held: Tensor) -> dict[str, Tensor]:
        rows = target.grouped(held).to(device)
        return {name: rdm(rows, name).double().cpu() for name in config.dissimilarities}

    with layer_features(
        model, target.images, config.layers,
        shown_as=target.shown_as, reduce=config.reduce, seed=config.seed, batch=config.batch_size,
    ) as features:  # fmt: skip
        yield ((layer, of_layer(held)) for layer, held in features)


def _interval(matrix: Tensor, subjects: Tensor, comparison: str, config: RsaConfig) -> tuple[float, float, float]:
    """Standard error, low, high."""
    if not config.draws or comparison not in BOOTSTRAPPED or subjects.shape[-1] < FEWEST_STIMULI:
        return NAN, NAN, NAN
    over = config.over if len(subjects) > 1 else "stimuli"
    drawn = rsa_bootstrap({"": matrix}, subjects, comparison, over=over, draws=config.draws, seed=config.seed)
    row = drawn.table()
    return float(row.standard_error[0]), float(row.low[0]), float(row.high[0])


def _ceiling(
    target: Target, subjects: Tensor, dissimilarity: str, comparison: str, config: RsaConfig
) -> tuple[float, float, str]:
    """Lower, upper, and what tells them."""
    if len(subjects) > 1 and comparison != "bures":
        lower, upper = noise_ceiling(subjects, comparison)
        return float(lower), float(upper), "subjects"
    if len(subjects) > 1 or comparison not in HALVED or config.responses == "crossnobis":
        return NAN, NAN, ""
    halves = target.halves(dissimilarity, config.halvings, config.seed)
    alike = [float(compare_rdms(first, second, comparison)) for first, second in halves]
    if not alike:
        return NAN, NAN, ""
    lower = sum(alike) / len(alike)
    # Spearman 1910 and Brown 1910 for all repeats; the correlation with what is without noise is the root
    upper = (2 * lower / (1 + lower)) ** 0.5 if lower > 0 else NAN
    return lower, upper, "repeats"
