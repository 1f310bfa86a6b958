"""Ridge from one eigendecomposition: any alpha and any target at the price of a product of matrices.

With X the centred features (stimuli n, features p), y a centred target and I the identity, the coefficients are
(X'X + alpha I)^-1 X'y = X'(XX' + alpha I)^-1 y. The first matrix is decomposed where p < n, else the second (the kernel
form): whichever is the smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cotrain.analysis._dense_algebra import eigenvectors, product


class Form(Protocol):
    """What both forms answer. `projected` are targets (rank, targets), and `shrunk` those divided by
    eigenvalue + alpha, each target by its own alpha."""

    @property
    def eigenvalues(self) -> Tensor: ...

    def projected(self, targets: Tensor) -> Tensor:
        """Centred targets (n, targets) in the coordinates of the eigenvectors."""

    def freedom(self, alphas: Tensor) -> Tensor:
        """(n, alphas): what errors of the fit are divided by to be those of a fit without the stimulus."""

    def left_out(self, targets: Tensor, shrunk: Tensor, freedom: Tensor) -> Tensor:
        """target - prediction (n, ..., targets) of each stimulus by the ridge of all others.

        `shrunk` is (rank, ..., targets), for several alphas (rank, alphas, targets); `targets` and `freedom` fit the
        result, or have 1 where they are the same for all.
        """

    def predictor(self, features: Tensor) -> Tensor:
        """(stimuli, rank): its product with `shrunk` is the prediction for centred features of other stimuli."""

    def coefficients(self, shrunk: Tensor) -> Tensor:
        """(p, targets)."""


def decompose(features: Tensor) -> Form:
    """The smaller form of centred features (n, p)."""
    return covariance_form(features) if features.shape[1] < len(features) else kernel_form(features)


@dataclass(frozen=True)
class KernelForm:
    """XX' = U diag(eigenvalues) U', with the n - 1 columns of U at right angles to the constant vector."""

    features: Tensor
    eigenvalues: Tensor
    vectors: Tensor

    def projected(self, targets: Tensor) -> Tensor:
        return product(self.vectors.T, targets)

    def freedom(self, alphas: Tensor) -> Tensor:
        return product(self.vectors.square(), 1 / (self.eigenvalues[:, None] + alphas))

    def left_out(self, targets: Tensor, shrunk: Tensor, freedom: Tensor) -> Tensor:
        # with G = XX' + alpha I on the centred vectors, (G^-1 y)_i / (G^-1)_ii (Rifkin & Lippert 2007, Notes on
        # regularized least squares, eq. 17); as the mean is refitted too, G^-1 has no constant direction
        return _product(self.vectors, shrunk).div_(freedom)

    def predictor(self, features: Tensor) -> Tensor:
        return product(product(features, self.features.T), self.vectors)

    def coefficients(self, shrunk: Tensor) -> Tensor:
        return product(self.features.T, product(self.vectors, shrunk))


@dataclass(frozen=True)
class CovarianceForm:
    """X'X = V diag(eigenvalues) V'; Z = X V."""

    eigenvalues: Tensor
    vectors: Tensor
    scores: Tensor

    def projected(self, targets: Tensor) -> Tensor:
        return product(self.scores.T, targets)

    def freedom(self, alphas: Tensor) -> Tensor:
        # 1 - leverage, where the mean, refitted too, has a leverage of 1 / n
        return 1 - 1 / len(self.scores) - product(self.scores.square(), 1 / (self.eigenvalues[:, None] + alphas))

    def left_out(self, targets: Tensor, shrunk: Tensor, freedom: Tensor) -> Tensor:
        found = _product(self.scores, shrunk)
        return torch.sub(targets, found, out=found).div_(freedom)

    def predictor(self, features: Tensor) -> Tensor:
        return product(features, self.vectors)

    def coefficients(self, shrunk: Tensor) -> Tensor:
        return product(self.vectors, shrunk)


def kernel_form(features: Tensor) -> KernelForm:
    """Decompose XX' on the vectors at right angles to the constant one.

    XX' maps the constant vector to 0, as it does others when p < n - 1, and a decomposition mixes them. A reflection
    that turns the constant vector into the first axis keeps it apart exactly.
    """
    stimuli = len(features)
    kernel = product(features, features.T)
    mirror = torch.full((stimuli,), stimuli**-0.5, dtype=features.dtype, device=features.device)
    mirror[0] -= 1
    mirror /= mirror.norm().clamp_min(torch.finfo(features.dtype).tiny)
    turned = kernel @ mirror
    change = 2 * (turned - (mirror @ turned) * mirror)
    kernel -= torch.outer(mirror, change)
    kernel -= torch.outer(change, mirror)
    values, inner = eigenvectors(kernel[1:, 1:])
    vectors = torch.outer(mirror, -2 * (mirror[1:] @ inner))
    vectors[1:] += inner
    return KernelForm(features, values.clamp_min(0), vectors)


def covariance_form(features: Tensor) -> CovarianceForm:
    """Decompose X'X."""
    values, vectors = eigenvectors(product(features.T, features))
    return CovarianceForm(values.clamp_min(0), vectors, product(features, vectors))


def _product(left: Tensor, right: Tensor) -> Tensor:
    """(n, rank) with (rank, ...)."""
    found: Tensor = product(left, right.flatten(1)).unflatten(1, right.shape[1:])
    return found
