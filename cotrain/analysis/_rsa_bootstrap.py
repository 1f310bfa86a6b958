"""How models' similarities to subjects would vary with other subjects and other stimuli: the bootstrap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotrain.analysis._arrays import Given
from cotrain.analysis._compare_rdms import RANKED, comparison_name, similarities
from cotrain.analysis._noise_ceiling import ceilings, ranked_ceilings
from cotrain.analysis._tagged_rdm import Rdm, only_known, same_stimuli
from cotrain.analysis._unit_vectors import unit_vectors
from cotrain.analysis._weighted_rdms import WEIGHTED, pair_vectors, pair_weights, weighted_vectors
from cotrain.dissimilarity import pairs
from cotrain.errors import CotrainError, DataError
from cotrain.seeds import derive_seed

if TYPE_CHECKING:
    import pandas as pd

Over = Literal["stimuli", "subjects", "both"]
NUMBERS = 2_000_000  # held at once: 16 MB; more is slower
FEWEST_STIMULI = 6  # of fewer, too many samples hold fewer than 3 different ones


@dataclass(frozen=True, eq=False)
class RsaBootstrap:
    """Similarities of models to subjects and what they are in bootstrap samples.

    Args:
        method, over: As they were asked for.
        models: Names.
        similarity: Of each model, the mean over subjects.
        ceiling: (lower, upper), or two NaN for a single subject.
        samples: {"stimuli", "subjects" or "both": (samples, models + 2)}, what was drawn anew: similarities and the two
            bounds of the ceiling. All three for over="both".
        subjects, stimuli: How many.
    """

    method: str
    over: Over
    models: tuple[str, ...]
    similarity: NDArray[np.float64]
    ceiling: tuple[float, float]
    samples: Mapping[str, NDArray[np.float64]]
    subjects: int
    stimuli: int

    @property
    def degrees_of_freedom(self) -> int:
        """One less than subjects or stimuli, whichever were drawn; of both the smaller (Schütt et al. 2023)."""
        return {"subjects": self.subjects, "stimuli": self.stimuli, "both": min(self.subjects, self.stimuli)}[
            self.over
        ] - 1

    def variance(self, contrast: NDArray[np.float64]) -> float:
        """Of a weighted sum of the models' similarities and the two bounds, as other draws of data would give it.

        For both factors: the bootstrap of both counts the noise of single measurements three times. With s, p and b
        the variances over samples of subjects, stimuli and both, the estimate is S s + P p - S P (b - s - p), where S
        = subjects / (subjects - 1) and P likewise; not less than S s or P p, not more than b (Schütt et al. 2023,
        eLife 12:e82566, the corrected two-factor bootstrap). With few stimuli it is cautious, as a sample of n holds
        only some 0.63 n different ones: at 20 stimuli 1.7 times the variance over simulated experiments.
        """
        spread = {}
        for drawn, values in self.samples.items():
            used = values if np.any(contrast[-2:]) else values[:, :-2]
            kept = used[np.isfinite(used).all(1)]
            spread[drawn] = float(np.var(kept @ contrast[: used.shape[1]], ddof=1)) if len(kept) > 1 else np.nan
        by = {
            "subjects": self.subjects / max(1, self.subjects - 1),
            "stimuli": self.stimuli / max(1, self.stimuli - 1),
        }
        if self.over != "both":
            return by[self.over] * spread[self.over]
        subjects, stimuli = (by[drawn] * spread[drawn] for drawn in ("subjects", "stimuli"))
        shared = by["subjects"] * by["stimuli"] * (spread["both"] - spread["subjects"] - spread["stimuli"])
        return float(min(max(subjects + stimuli - shared, subjects, stimuli), spread["both"]))

    def table(self, confidence: float = 0.95) -> pd.DataFrame:
        """One row a model: similarity, its standard error, Student's interval, and the ceiling.

        Columns: model, method, similarity, standard_error, low, high, ceiling_lower, ceiling_upper, subjects, stimuli,
        over.
        """
        import pandas as pd
        from scipy.stats import t

        one = np.eye(len(self.models) + 2)
        error = np.sqrt([self.variance(one[number]) for number in range(len(self.models))])
        half = t.ppf((1 + confidence) / 2, self.degrees_of_freedom) * error
        return pd.DataFrame(
            {
                "model": self.models,
                "method": self.method,
                "similarity": self.similarity,
                "standard_error": error,
                "low": self.similarity - half,
                "high": self.similarity + half,
                "ceiling_lower": self.ceiling[0],
                "ceiling_upper": self.ceiling[1],
                "subjects": self.subjects,
                "stimuli": self.stimuli,
                "over": self.over,
            }
        )


def rsa_bootstrap(
    models: Mapping[str, Given | Rdm],
    subjects: Given | Rdm,
    method: str = "pearson",
    *,
    over: Over = "both",
    draws: int = 1000,
    seed: int = 0,
) -> RsaBootstrap:
    """Compare models with subjects in bootstrap samples of stimuli, of subjects, or of both.

    Of "both" the spread says what other subjects and other stimuli would give, of "stimuli" these subjects with other
    stimuli, of "subjects" the contrary. Pairs of a stimulus with its own copy are left out. The bounds of the noise
    ceiling are computed anew in each sample.

    Args:
        models: {name: (stimuli, stimuli)}, distances or `Rdm`.
        subjects: (subjects, stimuli, stimuli); of a single one, (stimuli, stimuli), stimuli alone can be drawn.
        method: "pearson", "cosine", "spearman", "rho_a", "cka" or "whitened_pearson"; in the place of Kendall's tau
            take "rho_a", which ranks models alike. Over subjects "unbiased_cka" too.
        over: What is drawn.
        draws: How many samples; of "both", of each kind.
        seed: Of the draws.

    Raises:
        CotrainError: There is no such method, or no bootstrap of it; `over` is none of the three; fewer than 2 draws.
        DataError: Too few subjects, fewer than 6 stimuli, RDMs that are not single ones, or as `compare_rdms`.
    """
    name = comparison_name(method)
    if over not in ("stimuli", "subjects", "both"):
        raise CotrainError(f"A bootstrap is over 'stimuli', 'subjects' or 'both', found {over!r}.")
    if name not in WEIGHTED and not (over == "subjects" and name == "unbiased_cka"):
        raise CotrainError(
            f"There is no bootstrap over {over} by {method!r}; expected one of {', '.join(WEIGHTED)}. In the place of "
            "Kendall's tau use 'rho_a', of 'unbiased_cka' and 'bures' 'cka'."
        )
    if draws < 2:
        raise CotrainError(f"A bootstrap needs 2 draws or more, found {draws}; 1000 are usual.")
    data, rows = _gathered(models, subjects)
    number, stimuli = len(data), data.shape[-1]
    if over != "stimuli" and number < 2:
        raise DataError(f"A bootstrap over {over} needs 2 subjects or more, found {number}. Use over='stimuli'.")
    if stimuli < FEWEST_STIMULI:
        raise DataError(f"A bootstrap needs {FEWEST_STIMULI} stimuli or more, found {stimuli}.")
    generator = np.random.default_rng(derive_seed(seed, "order", "rsa_bootstrap"))
    of_subjects = _drawn(generator, draws, number).to(data.device)
    of_stimuli = _drawn(generator, draws, stimuli).to(data.device)
    once = {"subjects": torch.ones_like(of_subjects[:1]), "stimuli": torch.ones_like(of_stimuli[:1])}
    samples = {}
    if over in ("subjects", "both"):
        samples["subjects"] = _samples(rows, data, name, once["stimuli"], of_subjects)
    if over in ("stimuli", "both"):
        samples["stimuli"] = _samples(rows, data, name, of_stimuli, once["subjects"])
    if over == "both":
        samples["both"] = _samples(rows, data, name, of_stimuli, of_subjects)
    whole = _samples(rows, data, name, once["stimuli"], once["subjects"])[0]
    return RsaBootstrap(
        name, over, tuple(models), whole[:-2], (float(whole[-2]), float(whole[-1])), samples, number, stimuli
    )


def _gathered(models: Mapping[str, Given | Rdm], subjects: Given | Rdm) -> tuple[Tensor, Tensor]:
    """(subjects, stimuli, stimuli) and (models, stimuli, stimuli)."""
    if not models:
        raise DataError("There is no model to compare. Give {name: RDM}.")
    rows = []
    for name, model in models.items():
        data, row = same_stimuli(subjects, model)
        if row.ndim != 2:
            raise DataError(f"The model {name!r} must be one RDM, (stimuli, stimuli), found {tuple(row.shape)}.")
        rows.append(only_known(row, f"The RDM of the model {name!r}"))
    data = only_known(data, "The subjects' RDMs")
    return (data if data.ndim == 3 else data[None]), torch.stack(rows).to(data.device)


def _drawn(generator: np.random.Generator, draws: int, number: int) -> Tensor:
    """How often each is in each sample."""
    return torch.from_numpy(generator.multinomial(number, np.full(number, 1 / number), size=draws)).double()


def _samples(models: Tensor, data: Tensor, name: str, stimuli: Tensor, subjects: Tensor) -> NDArray[np.float64]:
    """(samples, models + 2): mean similarity to the subjects of each model, and the bounds of the ceiling."""
    if len(stimuli) == 1:  # the same comparisons in all samples
        parts = _other_subjects(models, data, name, subjects)
    else:
        parts = _other_stimuli(models, data, name, stimuli, subjects)
    rows = [torch.cat(part, 1) for part in parts]
    return np.asarray(torch.cat(rows).cpu().numpy())


def _other_subjects(models: Tensor, data: Tensor, name: str, subjects: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """All stimuli once."""
    drawn, place = subjects.unique(dim=0, return_inverse=True)  # of few subjects there are few samples
    means = drawn @ similarities(models, data, name).T / drawn.sum(1, keepdim=True)
    vectors = unit_vectors(data, name)[None]
    weights = torch.ones_like(pairs(data)[None, :1])
    at_once = _at_once(vectors.numel())
    bounds = [_bounds(data, vectors, pairs(data)[None], weights, part, name) for part in drawn.split(at_once)]
    yield means[place], torch.cat(bounds)[place]


def _other_stimuli(
    models: Tensor, data: Tensor, name: str, stimuli: Tensor, subjects: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    both = torch.cat([models, data])
    ranked = name in RANKED
    # sorting is fastest where the pairs of one sample, without those that are not in it, stay in the processor's cache
    at_once = 1 if ranked else _at_once(both.numel())
    values = pairs(both)[None]
    for first in range(0, len(stimuli), at_once):
        counts = stimuli[first : first + at_once]
        chosen = subjects[first : first + at_once] if len(subjects) > 1 else subjects.expand(len(counts), -1)
        weights = pair_weights(counts)
        used, flat = values, pairs(weights)[:, None]
        if ranked:
            there = flat[0, 0] > 0
            used, flat = values[..., there], flat[..., there]
            vectors = pair_vectors(used, flat, name)
        else:
            vectors = weighted_vectors(both, weights, counts, name)
        of_models, of_data = vectors[:, : len(models)], vectors[:, len(models) :]
        found = of_models @ of_data.transpose(1, 2)
        means = (found @ chosen[..., None])[..., 0] / chosen.sum(1, keepdim=True)
        yield means, _bounds(data, of_data, used[:, len(models) :], flat, chosen, name)


def _at_once(numbers: int) -> int:
    """Samples of so many numbers."""
    return max(1, NUMBERS // max(1, numbers))


def _bounds(data: Tensor, vectors: Tensor, values: Tensor, weights: Tensor, subjects: Tensor, name: str) -> Tensor:
    if len(data) < 2:
        return subjects.new_full((len(subjects), 2), torch.nan)
    if name in RANKED:
        return ranked_ceilings(values, weights, subjects, name)
    return ceilings(vectors, subjects)
