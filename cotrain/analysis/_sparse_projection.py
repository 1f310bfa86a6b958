"""Random projections that keep distances, with few numbers to be drawn, held and multiplied."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array
from torch import Tensor

from cotrain.errors import ModelError

PIECE = 2**16  # features that are projected together; sums are formed piece by piece, whatever the number of images


class SparseMatrix:
    """(features, size) with a fixed number of entries +-1 / sqrt(nonzeros) a row, one in each part of the columns.

    The block construction of Kane & Nelson 2014 (Sparser Johnson-Lindenstrauss transforms, Journal of the ACM 61:4):
    the columns are cut into as many parts as there are entries a row, and in each part a feature goes to one column at
    random, with a random sign. Lengths are kept on average, whatever the features are.

    A row costs four bytes an entry, or two where a part has few columns. On the CPU a projection's every bit is the
    same whatever other images are projected with it.

    Args:
        features, size: Its shape.
        nonzeros: Entries a row, 1 to `size`.
        seed: Of all entries.

    Raises:
        ModelError: `nonzeros` is out of range.
    """

    def __init__(self, features: int, size: int, *, nonzeros: int, seed: int) -> None:
        if not 1 <= nonzeros <= size:
            raise ModelError(f"A sparse projection to {size} has 1 to {size} entries a feature, found {nonzeros}.")
        self.features, self.size, self.nonzeros = features, size, nonzeros
        ends = np.linspace(0, size, nonzeros + 1).astype(np.int64)
        self.starts = ends[:-1]
        widths = np.diff(ends)
        random = np.random.Generator(np.random.PCG64(seed))
        kind = np.int16 if 2 * widths.max() < 2**15 else np.int32
        # column within its part, and in the lowest bit the sign
        drawn = [random.integers(0, 2 * width, features, dtype=kind) for width in widths]
        self.places: NDArray[np.integer] = np.stack(drawn, axis=1)

    @property
    def nbytes(self) -> int:
        """Of what is held."""
        return int(self.places.nbytes)

    def __call__(self, values: Tensor) -> Tensor:
        """(images, features) -> float32 (images, size), on the device of the values."""
        images = len(values)
        scale = self.nonzeros**-0.5
        if values.device.type != "cpu":
            total = torch.zeros(2 * self.size, images, device=values.device)
            for start in range(0, self.features, PIECE):
                matrix = _as_torch(self._piece(start), values.device)
                total += torch.sparse.mm(matrix, values[:, start : start + PIECE].float().T)
            found: Tensor = (total[::2] - total[1::2]) * scale
            return found.T.contiguous()
        sums: NDArray[np.float32] = np.zeros((2 * self.size, images), np.float32)
        held = values.float().numpy()
        for start in range(0, self.features, PIECE):
            sums += self._piece(start) @ np.ascontiguousarray(held[:, start : start + PIECE].T)
        return torch.from_numpy(np.ascontiguousarray(((sums[::2] - sums[1::2]) * np.float32(scale)).T))

    def _piece(self, start: int) -> csc_array:
        """(2 size, features of a piece): ones, in an even row for a plus and in the next one for a minus."""
        rows = (self.places[start : start + PIECE] + 2 * self.starts).astype(np.int32)
        count = len(rows)
        ends = np.arange(0, self.nonzeros * count + 1, self.nonzeros, dtype=np.int32)
        return csc_array((np.ones(rows.size, np.float32), rows.ravel(), ends), shape=(2 * self.size, count))


def _as_torch(piece: csc_array, device: torch.device) -> Tensor:
    parts = piece.tocoo()
    places = torch.from_numpy(np.stack([parts.row, parts.col]).astype(np.int64)).to(device)
    values = torch.from_numpy(parts.data).to(device)
    return torch.sparse_coo_tensor(places, values, parts.shape, check_invariants=False)


class GaussianMatrix:
    """(features, size) of independent normal numbers of variance 1 / size; drawn anew for each use where large.

    Args:
        features, size: Its shape.
        seed: Of all entries.
        held: Bytes up to which it is kept.
    """

    ROWS = 1024  # drawn together

    def __init__(self, features: int, size: int, *, seed: int, held: int = 2**28) -> None:
        self.features, self.size, self.seed = features, size, seed
        self.parts = list(range(0, features, self.ROWS))
        self.kept = [self._draw(start) for start in self.parts] if 4 * features * size <= held else None

    @property
    def nbytes(self) -> int:
        """Of what is held, or of the part that is drawn at a time."""
        return 4 * (self.features if self.kept is not None else min(self.features, self.ROWS)) * self.size

    def __call__(self, values: Tensor) -> Tensor:
        """(images, features) -> float32 (images, size)."""
        total = torch.zeros(len(values), self.size, device=values.device)
        for number, start in enumerate(self.parts):
            part = self._draw(start) if self.kept is None else self.kept[number]
            total += values[:, start : start + self.ROWS].float() @ part.to(values.device)
        return total

    def _draw(self, start: int) -> Tensor:
        random = np.random.Generator(np.random.PCG64([self.seed, start]))
        shape = (min(self.ROWS, self.features - start), self.size)
        return torch.from_numpy(random.standard_normal(shape, dtype=np.float32) * np.float32(1 / math.sqrt(self.size)))


def johnson_lindenstrauss_size(stimuli: int, eps: float) -> int:
    """Dimensions that keep all squared distances among so many points within 1 +- eps, with high probability.

    4 ln n / (eps^2 / 2 - eps^3 / 3) (Dasgupta & Gupta 2003, Random Structures & Algorithms 22:60).

    Raises:
        ModelError: eps is not between 0 and 1.

    >>> johnson_lindenstrauss_size(119, 0.1)
    4096
    """
    if not 0 < eps < 1:
        raise ModelError(f"Distances are kept within a share between 0 and 1, found eps={eps}.")
    return max(1, int(4 * math.log(max(stimuli, 2)) / (eps**2 / 2 - eps**3 / 3)))
