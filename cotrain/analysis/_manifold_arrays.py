"""Manifolds as they are given: lists of (neurons, points), or one array of sessions with NaN where data are missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cotrain.errors import DataError

Floats = NDArray[np.float64]
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Clouds:
    """Manifolds without gaps.

    `clouds`: (known neurons, points) each, float64, finite, one point or more. `known`: (neurons,) of what was given,
    which of them are known. `tensors`: whether tensors were given.
    """

    clouds: list[Floats]
    known: NDArray[np.bool_]
    tensors: bool


def clouds_of(manifolds: Sequence[Any]) -> Clouds:
    """Check manifolds and leave out what is missing.

    A neuron that is NaN throughout is missing, and so is a point at which another neuron is NaN. Silent neurons stay:
    they change nothing.

    Args:
        manifolds: List of (neurons, points), arrays or tensors of real numbers, one for each manifold, with the same
            neurons. NaN is a missing value.

    Raises:
        DataError: It is no such list, holds infinite values, or leaves a manifold without a point.
    """
    if not isinstance(manifolds, list | tuple) or not len(manifolds):
        raise DataError(
            f"Manifolds are a list of arrays (neurons, points), one or more, found {_kind(manifolds)}. For an array of "
            "sessions, neurons, samples and objects use manifolds_of_sessions."
        )
    clouds = [_matrix(cloud, number) for number, cloud in enumerate(manifolds)]
    shapes = [cloud.shape for cloud in clouds]
    if len({neurons for neurons, _ in shapes}) > 1 or shapes[0][0] == 0:
        raise DataError(f"All manifolds need the same neurons, one or more, along their first axis, found {shapes}.")
    known = np.zeros(shapes[0][0], bool)
    for cloud in clouds:
        known |= (~np.isnan(cloud)).any(1)
    complete = [cloud[known][:, ~np.isnan(cloud[known]).any(0)] for cloud in clouds]
    empty = [number for number, cloud in enumerate(complete) if not cloud.size]
    if empty:
        raise DataError(
            f"NaN leaves no point of the manifolds {_few(empty)} at which all {int(known.sum())} neurons are known. "
            "Leave these manifolds out, or the neurons that they lack."
        )
    return Clouds(complete, known, any(isinstance(cloud, torch.Tensor) for cloud in manifolds))


def manifolds_of_sessions(tuning: Any) -> list[list[Floats]]:
    """The manifolds of each session of one array, in which NaN stands for what is missing.

    The layout of the MATLAB code of Cohen, Chung, Lee & Sompolinsky 2020 (Nature Communications 11:746). Neurons of a
    session that are NaN or 0 throughout are left out, and so are an object's samples at which another neuron is NaN.
    That code takes a mean over objects first, which is NaN where one object lacks the sample, and so it loses all
    neurons where each sample is missing in some object; here a neuron is kept where any of its values is known and not
    0.

    Args:
        tuning: (sessions, neurons, samples, objects), or (neurons, samples, objects) of one session.

    Returns:
        For each session a list of (neurons, points), one an object.

    Raises:
        DataError: The array has other axes, infinite values, or leaves nothing of a session or of an object.
    """
    values = tuning.detach().cpu().numpy() if isinstance(tuning, torch.Tensor) else np.asarray(tuning)
    if values.ndim not in (3, 4) or not values.size or values.dtype.kind not in "fiub":
        raise DataError(
            "Tuning is an array of numbers (sessions, neurons, samples, objects) or (neurons, samples, objects), found "
            f"the shape {values.shape} of {values.dtype}."
        )
    sessions = []
    for number, session in enumerate(values if values.ndim == 4 else values[None]):
        active = ((~np.isnan(session)) & (session != 0)).any((1, 2))
        if not active.any():
            raise DataError(f"Session {number} has no neuron with a value other than NaN and 0.")
        sessions.append(clouds_of([session[active][:, :, one] for one in range(session.shape[2])]).clouds)
    return sessions


def as_given(result: Result, tensors: bool) -> Result:
    """A result whose arrays are tensors where manifolds were given as tensors."""
    if not tensors:
        return result
    held: Any = result
    arrays = {
        part.name: torch.from_numpy(np.ascontiguousarray(getattr(held, part.name)))
        for part in dataclasses.fields(held)
        if isinstance(getattr(held, part.name), np.ndarray)
    }
    changed: Result = dataclasses.replace(held, **arrays)
    return changed


def _matrix(cloud: Any, number: int) -> Floats:
    values = cloud.detach().cpu().numpy() if isinstance(cloud, torch.Tensor) else np.asarray(cloud)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise DataError(
            f"Manifold {number} must be an array of numbers (neurons, points), found the shape {values.shape} of "
            f"{values.dtype}."
        )
    values = values.astype(np.float64)
    if np.isinf(values).any():
        raise DataError(
            f"Manifold {number} holds infinite values: check what computed it, or mark them missing by NaN."
        )
    return values


def _kind(given: Any) -> str:
    shape = getattr(given, "shape", None)
    return f"{type(given).__name__} of shape {tuple(shape)}" if shape is not None else f"{given!r:.80}"


def _few(numbers: list[int]) -> str:
    return f"{numbers[:10]} and {len(numbers) - 10} more" if len(numbers) > 10 else str(numbers)
