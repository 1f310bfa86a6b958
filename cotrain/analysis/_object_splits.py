"""Images of objects, and splits that take as many of each object."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._arrays import Given, to_tensor
from cotrain.errors import DataError

OBJECTS = 49  # of the images of Cadieu et al. 2014 and Majaj et al. 2015 that the published protocols use


def object_numbers(objects: int | Given, images: int) -> NDArray[np.int64]:
    """The object of each image, 0 to objects - 1.

    Args:
        objects: How many there are, the images of each being consecutive and equally many; or a label an image.
        images: How many there are.

    Raises:
        DataError: The images are no multiple of the objects, or labels are not one an image; or there are fewer than
            two objects.
    """
    if isinstance(objects, int):
        if objects < 2 or images % objects or not images:
            raise DataError(
                f"{images} images are not the same number of each of {objects} objects. Say how many there are, "
                "2 or more, or give the object of each image: objects=labels."
            )
        return np.repeat(np.arange(objects), images // objects)
    labels = np.asarray(objects.detach().cpu() if hasattr(objects, "detach") else objects)
    if labels.shape != (images,):
        raise DataError(f"Each of {images} images needs the label of its object, found labels of shape {labels.shape}.")
    names, numbers = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise DataError("All images are of one object; 2 or more are needed.")
    return np.asarray(numbers, dtype=np.int64)


def random_part(
    numbers: NDArray[np.int64], share: float, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of a random share of each object's images, and all other rows; both in their order.

    As in the published protocol the share is rounded down, but never to nothing.

    Raises:
        DataError: An object has too few images.
    """
    chosen = np.zeros(len(numbers), dtype=bool)
    for number in range(int(numbers.max()) + 1):
        rows = np.flatnonzero(numbers == number)
        taken = int(len(rows) * share + 1e-9)
        if not 0 < taken < len(rows):
            raise DataError(
                f"A share of {share:g} of the {len(rows)} images of object {number} is {taken} images; at least one "
                "must be taken and one left. Use more images an object, or another share."
            )
        chosen[generator.permutation(rows)[:taken]] = True
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def plain_features(values: Given, what: str) -> NDArray[Any]:
    """(images, features) as NumPy, finite.

    Raises:
        DataError: They are not that.
    """
    held = to_tensor(values, what).detach().cpu().numpy()
    if held.ndim != 2 or not held.size:
        raise DataError(f"{what} must be (images, features), found {held.shape}.")
    if not np.isfinite(held).all():
        raise DataError(f"{what} hold {int((~np.isfinite(held)).sum())} numbers that are NaN or infinite.")
    return np.asarray(held)
