"""Principal components and exact coordinates of more features than can be decomposed, from products of stimuli."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotrain.analysis._dense_algebra import eigenvectors, product

COLUMNS = 8192  # features that are multiplied together, in float64
EXACT = 6000  # of stimuli or features: up to here their products are decomposed
ROWS = 2048  # stimuli that are multiplied together


def coordinates(features: Tensor) -> Tensor:
    """(stimuli, rank): the features in axes of their own span, with all their scalar products (to about 1e-7).

    The eigenvectors of XX' times the roots of their eigenvalues; that there are no more columns than stimuli loses
    nothing: ridge, principal components, RDMs of Euclidean distance and CKA are as those of the features.

    Args:
        features: float32 (stimuli, features), in memory or in a file.
    """
    if features.shape[1] <= len(features):
        return features.clone()
    kernel = products(features, torch.arange(len(features)), None)
    values, vectors = eigenvectors(kernel)
    values, vectors = values.flip(0), vectors.flip(1)
    real = values > len(values) * torch.finfo(torch.float64).eps * values[0].clamp_min(1e-300)
    real[0] = True  # of no features but zeros, a column of zeros
    return _signed(vectors[:, real] * values[real].clamp_min(0).sqrt())[0].float()


def principal_components(features: Tensor, size: int, rows: Tensor) -> Tensor:
    """float32 (stimuli, size): scores on the axes along which the features of some stimuli vary most.

    Exact, through the products of those stimuli or of the features, whichever are fewer; incremental
    (`sklearn.decomposition.IncrementalPCA`), and so near exact, where there are more than 6000 of both. Each axis
    points to where its largest score of those stimuli is positive.

    Args:
        features: float32 (stimuli, features), in memory or in a file.
        size: Of the axes; cut to what there are: features, and stimuli that are fitted less one.
        rows: Positions of the stimuli that the axes, and the mean, are fitted to.
    """
    size = min(size, features.shape[1], len(rows) - 1)
    if min(features.shape[1], len(rows)) > EXACT:
        return _incremental(features, size, rows)
    scores = _by_features(features, size, rows) if features.shape[1] < len(rows) else _by_stimuli(features, size, rows)
    _, signs = _signed(scores[rows])
    return (scores * signs).float()


def products(features: Tensor, rows: Tensor, mean: Tensor | None) -> Tensor:
    """float64 (stimuli, rows): scalar products of all with some, less a mean (features,), column by column."""
    found = torch.zeros(len(features), len(rows), dtype=torch.float64)
    same = len(rows) == len(features)
    for start in range(0, features.shape[1], COLUMNS):
        part = features[:, start : start + COLUMNS].double()
        if mean is not None:
            part -= mean[start : start + COLUMNS]
        found += product(part, (part if same else part[rows]).T)
    return found


def _mean(features: Tensor, rows: Tensor) -> Tensor:
    total = torch.zeros(features.shape[1], dtype=torch.float64)
    for part in rows.split(ROWS):
        total += features[part].sum(0, dtype=torch.float64)
    return total / len(rows)


def _by_stimuli(features: Tensor, size: int, rows: Tensor) -> Tensor:
    rows = rows.sort().values  # so that all of them are taken as they are
    crossed = products(features, rows, _mean(features, rows))
    values, vectors = eigenvectors(crossed[rows])
    values, vectors = values.flip(0)[:size], vectors.flip(1)[:, :size]
    # an axis without variance has no scores, not 0 / 0
    roots = values.clamp_min(0).sqrt()
    kept = roots > 1e-7 * roots[0].clamp_min(1e-300)
    return torch.where(kept, (crossed @ vectors) / roots.where(kept, 1.0), 0.0)


def _by_features(features: Tensor, size: int, rows: Tensor) -> Tensor:
    mean = _mean(features, rows)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for part in rows.split(ROWS):
        centred = features[part].double() - mean
        covariance += product(centred.T, centred)
    axes = eigenvectors(covariance)[1].flip(1)[:, :size]
    return torch.cat([(part.double() - mean) @ axes for part in features.split(ROWS)])


def _incremental(features: Tensor, size: int, rows: Tensor) -> Tensor:
    from sklearn.decomposition import IncrementalPCA

    step = max(5 * size, ROWS)
    pca = IncrementalPCA(size)
    parts = list(rows.split(step))
    if len(parts) > 1 and len(parts[-1]) < size:  # too few to be taken in by themselves
        parts[-2:] = [torch.cat(parts[-2:])]
    for part in parts:
        pca.partial_fit(features[part].numpy())
    found: list[NDArray[np.float32]] = [pca.transform(part.numpy()) for part in features.split(ROWS)]
    scores = torch.from_numpy(np.concatenate(found))
    return (scores * _signed(scores[rows])[1]).float()


def _signed(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Columns whose largest number is positive; and the signs that made them so."""
    largest = scores.gather(0, scores.abs().argmax(0, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0).to(scores.dtype)
    return scores * signs, signs
