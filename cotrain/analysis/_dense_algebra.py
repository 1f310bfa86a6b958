"""Products and decompositions of matrices of stimuli, by whichever library is fastest where they lie.

On the processor NumPy's and SciPy's BLAS and LAPACK are taken: a matrix times its own transpose costs half there, which
torch does not see, and symmetric decompositions take about 0.6 of torch's time. Elsewhere torch computes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cotrain.errors import DataError


def product(left: Tensor, right: Tensor) -> Tensor:
    """The product of two matrices that need no gradient; of a matrix and its own transpose, exactly symmetric."""
    if left.device.type != "cpu":
        return left @ right
    with np.errstate(over="ignore", invalid="ignore"):  # `eigenvectors` says what is too large
        return torch.from_numpy(np.matmul(left.numpy(), right.numpy()))


def eigenvectors(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors as columns.

    Raises:
        DataError: Products of features are beyond the range of their type.
    """
    if not bool(symmetric.sum().isfinite()):
        raise DataError(
            f"Products of features are too large for {symmetric.dtype}. Divide the features by a constant, or give "
            "them as float64."
        )
    if symmetric.device.type != "cpu":
        values, vectors = torch.linalg.eigh(symmetric)
        return values, vectors
    from scipy.linalg import eigh

    # LAPACK reads columns first: the transpose of a symmetric matrix is itself, and is not copied once more
    found = eigh(symmetric.numpy().T, driver="evd", check_finite=False)
    return torch.from_numpy(found[0]), torch.from_numpy(found[1])
