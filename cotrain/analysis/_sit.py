"""How alike a network and IT cortex order objects: the SIT score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._arrays import Given
from cotrain.analysis._compare_rdms import compare_rdms
from cotrain.analysis._noise_matching import RecordingNoise, match_noise
from cotrain.analysis._object_splits import OBJECTS, object_numbers, plain_features, random_part
from cotrain.analysis._rdm import rdm
from cotrain.analysis._rsa_bootstrap import rsa_bootstrap
from cotrain.errors import CotrainError, DataError
from cotrain.seeds import derive_seed

CADIEU = RecordingNoise()
SAMPLES = 1000  # of the bootstrap
SitVariant = Literal["published", "all_images"]


@dataclass(frozen=True, eq=False)
class SitScore:
    """Spearman correlation of two RDMs among objects.

    Args:
        mean: Over draws.
        spread: Standard deviation over draws; of "published", overlapping subsets of the same images, so that it is no
            standard error.
        low, high: Interval over other objects, 95 %; NaN for "published", which has none.
        draws: Each.
        variant: How it was computed.
        images: Of each object that went into an RDM, the fewest.
    """

    mean: float
    spread: float
    low: float
    high: float
    draws: NDArray[np.float64]
    variant: str
    images: int


def sit_score(
    features: Given,
    responses: Given,
    *,
    objects: int | Given = OBJECTS,
    variant: SitVariant = "published",
    draws: int = 100,
    share: float = 0.2,
    noise: RecordingNoise | None = CADIEU,
    seed: int = 0,
) -> SitScore:
    """Spearman correlation between the RDMs (1 - Pearson) of a network's and a recording's mean responses to objects.

    - "published": as the tables of neural finetuning were made. In each of 100 draws, 8 of the 40 images of each of 49
      objects; the features of these are given the noise of the recording anew; both RDMs are among the objects' means
      over the same images. It grows with the number of images an object, so compare only scores with the same.
    - "all_images": every image is used, in each draw; only the noise differs. The interval is over objects, by
      the bootstrap (1,000 samples) of the first draw, about the mean over draws.

    Args:
        features: (images, features) of the network.
        responses: (images, neurons), means over repeats, of the same images in the same order.
        objects: How many objects there are, whose images are consecutive and equally many; or a label an image.
        variant: One of those above.
        draws: How many.
        share: Of each object's images that "published" takes, rounded down.
        noise: Of the recording, or None for features as they are.
        seed: Of images and noise: the same seed draws the same images for every network.

    Raises:
        CotrainError: There is no such variant, or no draw.
        DataError: Features and responses are not of the same images, objects have too few images, responses are not in
            the units of `noise`, or there are fewer than 3 objects (6 for the interval of "all_images").
    """
    if variant not in ("published", "all_images"):
        raise CotrainError(f"There is no SIT score {variant!r}; expected 'published' or 'all_images'.")
    if draws < 1:
        raise CotrainError(f"The SIT score needs a draw or more, found {draws}; 100 are usual.")
    model, neural = plain_features(features, "Features"), plain_features(responses, "Responses")
    if len(model) != len(neural):
        raise DataError(f"Features are of {len(model)} images, responses of {len(neural)}; they must be of the same.")
    numbers = object_numbers(objects, len(model))
    found = np.empty(draws)
    matrices: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    rows = np.arange(len(numbers))
    for draw in range(draws):
        # images and noise apart, so that networks are compared on the same images whatever their number of features
        images = np.random.default_rng(derive_seed(seed, "split", "sit", draw))
        noises = np.random.default_rng(derive_seed(seed, "noise", "sit", draw))
        if variant == "published":
            rows, _ = random_part(numbers, share, images)
        of_model = model[rows] if noise is None else match_noise(model[rows], neural[rows], noise, noises)
        a, b = (rdm(object_means(values, numbers[rows])) for values in (of_model, neural[rows]))
        found[draw] = compare_rdms(a, b, "spearman")
        if draw == 0:
            matrices = [(a, b)]
    low = high = float("nan")
    if variant == "all_images":
        model_rdm, target = matrices[0]
        row = rsa_bootstrap({"model": model_rdm}, target, "spearman", over="stimuli", draws=SAMPLES, seed=seed).table()
        half = float(row.high[0] - row.similarity[0])
        low, high = float(found.mean()) - half, float(found.mean()) + half
    fewest = int(np.bincount(numbers[rows]).min())
    return SitScore(float(found.mean()), float(found.std()), low, high, found, variant, fewest)


def object_means(values: NDArray[np.floating], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """(objects, features): the mean over the images of each object."""
    counts = np.bincount(numbers)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, numbers, values)
    return sums / counts[:, None]
