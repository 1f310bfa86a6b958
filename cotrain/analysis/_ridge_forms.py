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
        """target - prediction (n, targets) of each stimulus by the ridge of all others.

        `freedom` is (n, targets), or (n, 1) for one alpha.
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
        return self.vectors.T @ targets

    def freedom(self, alphas: Tensor) -> Tensor:
        return self.vectors.square() @ (1 / (self.eigenvalues[:, None] + alphas))

    def left_out(self, targets: Tensor, shrunk: Tensor, freedom: Tensor) -> Tensor:
        # with G = XX' + alpha I on the centred vectors, (G^-1 y)_i / (G^-1)_ii (Rifkin & Lippert 2007, Notes on
        # regularized least squares, eq. 17); as the mean is refitted too, G^-1 has no constant direction
        return (self.vectors @ shrunk) / freedom

    def predictor(self, features: Tensor) -> Tensor:
        return (features @ self.features.T) @ self.vectors

    def coefficients(self, shrunk: Tensor) -> Tensor:
        return self.features.T @ (self.vectors @ shrunk)


@dataclass(frozen=True)
class CovarianceForm:
    """X'X = V diag(eigenvalues) V'; Z = X V."""

    eigenvalues: Tensor
    vectors: Tensor
    scores: Tensor

    def projected(self, targets: Tensor) -> Tensor:
        return self.scores.T @ targets

    def freedom(self, alphas: Tensor) -> Tensor:
        # 1 - leverage, where the mean, refitted too, has a leverage of 1 / n
        return 1 - 1 / len(self.scores) - self.scores.square() @ (1 / (self.eigenvalues[:, None] + alphas))

    def left_out(self, targets: Tensor, shrunk: Tensor, freedom: Tensor) -> Tensor:
        return (targets - self.scores @ shrunk) / freedom

    def predictor(self, features: Tensor) -> Tensor:
        return features @ self.vectors

    def coefficients(self, shrunk: Tensor) -> Tensor:
        return self.vectors @ shrunk


def kernel_form(features: Tensor) -> KernelForm:
    """Decompose XX' on the vectors at right angles to the constant one.

    XX' maps the constant vector to 0, as it does others when p < n - 1, and a decomposition mixes them. A reflection
    that turns the constant vector into the first axis keeps it apart exactly.
    """
    stimuli = len(features)
    kernel = features @ features.T
    mirror = torch.full((stimuli,), stimuli**-0.5, dtype=features.dtype, device=features.device)
    mirror[0] -= 1
    mirror /= mirror.norm().clamp_min(torch.finfo(features.dtype).tiny)
    turned = kernel @ mirror
    product = 2 * (turned - (mirror @ turned) * mirror)
    kernel -= torch.outer(mirror, product)
    kernel -= torch.outer(product, mirror)
    values, inner = torch.linalg.eigh(kernel[1:, 1:])
    vectors = torch.outer(mirror, -2 * (mirror[1:] @ inner))
    vectors[1:] += inner
    return KernelForm(features, values.clamp_min(0), vectors)


def covariance_form(features: Tensor) -> CovarianceForm:
    """Decompose X'X."""
    values, vectors = torch.linalg.eigh(features.T @ features)
    return CovarianceForm(values.clamp_min(0), vectors, features @ vectors)
