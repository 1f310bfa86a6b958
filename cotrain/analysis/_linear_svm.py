"""How well objects can be read out of features by a line: linear support vector machines."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._arrays import Given
from cotrain.analysis._noise_matching import RecordingNoise, match_noise
from cotrain.analysis._object_splits import OBJECTS, object_numbers, plain_features, random_part
from cotrain.errors import CotrainError, DataError, did_you_mean
from cotrain.seeds import derive_seed

log = logging.getLogger(__name__)

SvmVariant = Literal["published", "grid_search", "nested"]
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)  # C
SHARE = 0.2  # of images that a choice is tested with
SUBSETS, SUBSET_FEATURES = 10, 168  # of the published table: as many features as IT multi-units were recorded
SEARCH_ROUNDS, FINAL_ROUNDS = 1000, 5000


@dataclass(frozen=True, eq=False)
class SvmScore:
    """Accuracy of a linear readout, 0 to 1.

    Args:
        mean: Over scores; of "nested" the share of all images that were told right.
        spread: Standard deviation over scores, whose images overlap: no standard error.
        low, high: Wilson's interval, 95 %, over images, of "nested"; NaN for the others.
        scores: Of each split and subset of features, or of each fold.
        strengths: The C that was chosen for each score.
        chance: Of the most frequent object.
        variant: How it was computed.
        unfinished: Fits that had not converged when their rounds were over, of `fits`.
        fits: How many.
    """

    mean: float
    spread: float
    low: float
    high: float
    scores: NDArray[np.float64]
    strengths: tuple[float, ...]
    chance: float
    variant: str
    unfinished: int
    fits: int


def linear_svm_score(
    features: Given,
    objects: int | Given = OBJECTS,
    *,
    variant: SvmVariant = "published",
    splits: int | None = None,
    subsets: int = SUBSETS,
    subset_features: int | None = SUBSET_FEATURES,
    responses: Given | None = None,
    noise: RecordingNoise | None = None,
    seed: int = 0,
) -> SvmScore:
    """Accuracy with which linear support vector machines tell objects apart, one against the rest.

    - "published": as the table of neural finetuning was made. In each of 10 splits, 20 % of each object's images are
      for testing, and of the others 20 % choose C (0.001 to 100) and are used for nothing else; for each of 10 random
      subsets of 168 features. Features are neither centred nor scaled.
    - "grid_search": as its finetuning was judged. All features; the C with the highest mean test accuracy over 10 (or
      100) splits, and that accuracy: C is chosen with the images that are reported, so it is too high.
    - "nested": each image is tested once (5 folds), C is chosen in 4 folds of the training images, with which the final
      machine is then trained; features have mean 0 and variance 1 in the training images.

    Args:
        features: (images, features).
        objects: A label an image; or how many objects there are, whose images are consecutive and equally many.
        variant: One of those above.
        splits: How many; by default 10, of "nested" 5 folds.
        subsets, subset_features: Random subsets of features for "published"; None for all features, once.
        responses: (images, neurons) to match the noise of; they draw it once, before the splits.
        noise: Of that recording; by default that of `RecordingNoise` where there are responses.
        seed: Of splits, subsets and noise.

    Raises:
        CotrainError: There is no such variant, fewer than 1 split (of "nested" 2), or noise without responses.
        DataError: Objects have too few images, features are fewer than a subset, or as `sit_score`.
    """
    if variant not in get_args(SvmVariant):
        known = list(get_args(SvmVariant))
        raise CotrainError(f"There is no linear SVM score {variant!r}.{did_you_mean(variant, known)}")
    splits = splits if splits is not None else (5 if variant == "nested" else 10)
    if splits < (fewest := 2 if variant == "nested" else 1):
        raise CotrainError(f"The linear SVM score {variant!r} needs {fewest} splits or more, found {splits}.")
    values = plain_features(features, "Features").astype(np.float64)
    numbers = object_numbers(objects, len(values))
    if noise is not None and responses is None:
        raise CotrainError("Noise is matched to a recording: give its responses too.")
    if responses is not None:
        neural = plain_features(responses, "Responses")
        if len(neural) != len(values):
            raise DataError(f"Features are of {len(values)} images, responses of {len(neural)}.")
        generator = np.random.default_rng(derive_seed(seed, "noise", "svm"))
        values = match_noise(values, neural, noise or RecordingNoise(), generator)
    fitting = _Fitting()
    if variant == "published":
        width = _width(values, subset_features)
        subsets = subsets if width < values.shape[1] else 1
        rows = list(_published(values, numbers, splits, subsets, width, seed, fitting))
        scores, strengths = np.array([score for score, _ in rows]), tuple(strength for _, strength in rows)
        mean, interval = float(scores.mean()), (float("nan"),) * 2
    elif variant == "grid_search":
        scores, best = _grid_search(values, numbers, splits, seed, fitting)
        mean, strengths, interval = float(scores.mean()), (best,) * splits, (float("nan"),) * 2
    else:
        right, folds, strengths = _nested(values, numbers, splits, seed, fitting)
        scores = np.array([right[folds == fold].mean() for fold in range(splits)])
        mean, interval = float(right.mean()), _wilson(right)
    if fitting.unfinished:
        log.warning(
            "%d of %d linear support vector machines had not converged. Scaled features converge sooner.",
            fitting.unfinished, fitting.fits,
        )  # fmt: skip
    chance = float(np.bincount(numbers).max() / len(numbers))
    return SvmScore(
        mean, float(scores.std()), *interval, scores, strengths, chance, variant, fitting.unfinished, fitting.fits
    )


class _Fitting:
    """Fits machines, and counts those that did not converge."""

    def __init__(self) -> None:
        self.fits = self.unfinished = 0

    def accuracy(self, train: tuple[Any, Any], test: tuple[Any, Any], strength: float, rounds: int, seed: int) -> float:
        return float((self.told(train, test[0], strength, rounds, seed) == test[1]).mean())

    def told(self, train: tuple[Any, Any], test: Any, strength: float, rounds: int, seed: int) -> NDArray[np.int64]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        machine = LinearSVC(C=strength, max_iter=rounds, random_state=seed % 2**32)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", ConvergenceWarning)
            machine.fit(*train)
        self.fits += 1
        self.unfinished += bool(caught)
        return np.asarray(machine.predict(test))


def _width(values: NDArray[np.float64], asked: int | None) -> int:
    width = int(values.shape[1])
    if asked is None:
        return width
    if not 0 < asked <= width:
        raise DataError(
            f"A subset of {asked} features needs as many, found {width}. Give subset_features, or None for all of them."
        )
    return asked


def _published(
    values: NDArray[np.float64], numbers: NDArray[np.int64], splits: int, subsets: int, width: int, seed: int,
    fitting: _Fitting,
) -> Iterator[tuple[float, float]]:  # fmt: skip
    for split in range(splits):
        generator = np.random.default_rng(derive_seed(seed, "split", "svm", split))
        test, rest = random_part(numbers, SHARE, generator)
        choosing, training = (rest[part] for part in random_part(numbers[rest], SHARE, generator))
        solver = derive_seed(seed, "order", "svm", split)
        for subset in range(subsets):
            draw = np.random.default_rng(derive_seed(seed, "initialisation", "svm", split, subset))
            columns = draw.permutation(values.shape[1])[:width]
            train, choose, final = ((values[rows][:, columns], numbers[rows]) for rows in (training, choosing, test))
            found = [fitting.accuracy(train, choose, strength, SEARCH_ROUNDS, solver) for strength in STRENGTHS]
            best = STRENGTHS[int(np.argmax(found))]
            yield fitting.accuracy(train, final, best, FINAL_ROUNDS, solver), best


def _grid_search(
    values: NDArray[np.float64], numbers: NDArray[np.int64], splits: int, seed: int, fitting: _Fitting
) -> tuple[NDArray[np.float64], float]:
    scores = np.empty((len(STRENGTHS), splits))
    for split in range(splits):
        generator = np.random.default_rng(derive_seed(seed, "split", "svm", split))
        test, train = ((values[rows], numbers[rows]) for rows in random_part(numbers, SHARE, generator))
        solver = derive_seed(seed, "order", "svm", split)
        for place, strength in enumerate(STRENGTHS):
            scores[place, split] = fitting.accuracy(train, test, strength, SEARCH_ROUNDS, solver)
    best = int(scores.mean(1).argmax())
    return scores[best], STRENGTHS[best]


def _nested(
    values: NDArray[np.float64], numbers: NDArray[np.int64], folds: int, seed: int, fitting: _Fitting
) -> tuple[NDArray[np.bool_], NDArray[np.int64], tuple[float, ...]]:
    generator = np.random.default_rng(derive_seed(seed, "split", "svm_folds"))
    outer = _folds(numbers, folds, generator)
    right, chosen = np.zeros(len(numbers), dtype=bool), []
    for fold in range(folds):
        solver = derive_seed(seed, "order", "svm_folds", fold)
        train = np.flatnonzero(outer != fold)
        inner = _folds(numbers[train], min(4, int(np.bincount(numbers[train]).min())), generator)
        found = np.zeros(len(STRENGTHS))
        for part in range(int(inner.max()) + 1):
            fit, choose = _scaled(values, numbers, train[inner != part], train[inner == part])
            told = [fitting.told(fit, choose[0], strength, FINAL_ROUNDS, solver) for strength in STRENGTHS]
            found += [(one == choose[1]).sum() for one in told]
        chosen.append(STRENGTHS[int(found.argmax())])
        fit, final = _scaled(values, numbers, train, np.flatnonzero(outer == fold))
        right[outer == fold] = fitting.told(fit, final[0], chosen[-1], FINAL_ROUNDS, solver) == final[1]
    return right, outer, tuple(chosen)


def _folds(numbers: NDArray[np.int64], folds: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each image; of each object as many in all folds, or one more."""
    fewest = int(np.bincount(numbers).min())
    if fewest < folds or folds < 2:
        raise DataError(
            f"{max(folds, 2)} folds need as many images of each object, one has {fewest}. Use fewer "
            "splits, or leave it out."
        )
    found = np.empty(len(numbers), dtype=np.int64)
    start = 0  # the next object goes on where the last one ended, so that folds are of one size
    for number in range(int(numbers.max()) + 1):
        rows = generator.permutation(np.flatnonzero(numbers == number))
        found[rows] = (start + np.arange(len(rows))) % folds
        start += len(rows)
    return found


def _scaled(
    values: NDArray[np.float64], numbers: NDArray[np.int64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(values[train])
    fit, final = ((scaler.transform(values[rows]), numbers[rows]) for rows in (train, test))
    return fit, final


def _wilson(right: NDArray[np.bool_]) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
