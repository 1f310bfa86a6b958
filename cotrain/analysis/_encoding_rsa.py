"""Encoding RSA: the geometry of responses that a regression predicts, beside that of the responses themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from cotrain.analysis._arrays import Array, Given, matrix
from cotrain.analysis._compare_rdms import check_number, compare_rdms, comparison_name
from cotrain.analysis._folds import Folds, FoldsLike, as_folds
from cotrain.analysis._rdm import rdm
from cotrain.analysis._regress import regress
from cotrain.analysis._regression_methods import Method
from cotrain.analysis._tagged_rdm import Rdm, as_distances
from cotrain.errors import DataError


@dataclass(frozen=True)
class EncodingRsa:
    """What `encoding_rsa` found.

    Args:
        fold_similarities: float64 (folds,), each among the stimuli that a fold holds out.
        stimuli: How many these are, of each fold.
        neurons: How many were predicted.
        left_out: How many were not, as their responses are constant.
        dissimilarity, comparison: As they were asked for.
        folds: That were used, with their seed.
    """

    fold_similarities: NDArray[np.float64] = field(repr=False)
    stimuli: tuple[int, ...]
    neurons: int
    left_out: int
    dissimilarity: str
    comparison: str
    folds: Folds

    @property
    def similarity(self) -> float:
        """Mean over folds."""
        return float(self.fold_similarities.mean())


def encoding_rsa(
    x: Array,
    y: Array,
    method: Method | object,
    folds: FoldsLike = 5,
    *,
    dissimilarity: str = "correlation",
    comparison: str = "spearman",
    target: Given | Rdm | None = None,
    seed: int = 0,
) -> EncodingRsa:
    """How alike the RDM of held-out predicted responses is to that of the responses.

    The features are first fitted to each neuron, so that those weigh that neurons follow (voxel-encoding RSA; Conwell
    et al. 2024, Nature Communications 15:9383). Compared are pairs of stimuli that one fold held out together, and the
    similarity is the mean over folds. Pairs of different folds never are: the prediction of each was fitted to the
    response to the other, so that even where nothing is predicted the distances are alike (leave-one-out predictions
    then have the very RDM of the responses). Fewer folds compare more pairs, with fits to fewer stimuli; one pair
    (train, test) is the fit to a training set with the RDM among its test stimuli.

    Encoding CKA is the comparison "unbiased_cka", or "cka", with the dissimilarity "squared_euclidean".

    Args:
        x: (stimuli, features), finite.
        y: (stimuli, neurons), mean responses; all known.
        method: As of `regress`.
        folds: As of `regress`; each must hold out 3 stimuli, for "unbiased_cka" 4, or more.
        dissimilarity: Of predictions and of responses, as of `rdm`.
        comparison: As of `compare_rdms`.
        target: (stimuli, stimuli), compared with in the place of the RDM of y, as `crossvalidated_rdm(repeats)`, which
            noise does not lift; rows are those of y.
        seed: Of the folds, where a number is given.

    Raises:
        DataError: Responses are NaN, no neuron varies, a fold holds out too few stimuli, the target is of others, or
            as `regress` and `compare_rdms`.
        CotrainError: As `rdm` and `compare_rdms`.

    >>> x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
    >>> from cotrain.analysis import Ols
    >>> round(encoding_rsa(x, x @ x[:6], Ols(), 2).similarity, 6)
    1.0
    """
    features, responses = matrix(x, "encoding_rsa, features").cpu(), matrix(y, "encoding_rsa, responses").cpu()
    if unknown := int(responses.isnan().sum()):
        raise DataError(
            f"encoding_rsa: {unknown} responses are NaN, and an RDM needs those of all neurons to its stimuli. Leave "
            "these stimuli or neurons out."
        )
    name, split = comparison_name(comparison), as_folds(folds, len(features), seed=seed)
    sizes = tuple(len(test) for _, test in split.pairs)
    check_number(min(sizes), name)
    reference = None if target is None else as_distances(target, "encoding_rsa, target").cpu()
    if reference is not None and reference.shape != (len(responses), len(responses)):
        raise DataError(
            f"encoding_rsa: the target must be one RDM among the {len(responses)} stimuli of the responses, found "
            f"{tuple(reference.shape)}."
        )
    fit = regress(features, responses, method, split)
    without = torch.stack([one.isnan().any(0) for one in fit.fold_predictions]).any(0)
    if bool(without.all()):
        raise DataError("encoding_rsa: no neuron was predicted; their responses are constant.")
    found = []
    for guesses, (_, test) in zip(fit.fold_predictions, split.pairs, strict=True):
        rows = torch.from_numpy(test)
        truth = responses[rows][:, ~without]
        of_brain = rdm(truth, dissimilarity) if reference is None else reference[rows][:, rows]
        found.append(float(compare_rdms(rdm(guesses[:, ~without], dissimilarity), of_brain, name)))
    kept = int((~without).sum())
    return EncodingRsa(np.array(found), sizes, kept, len(without) - kept, dissimilarity, comparison, split)
