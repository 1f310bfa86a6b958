"""What the metadata of neurons tell a readout: places that are predicted from cortex, and who shares with whom."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cotrain.errors import ModelError, did_you_mean
from cotrain.tasks import SessionInfo


class CorticalPlaces(nn.Module):
    """Receptive field centres as a smooth function of where in cortex the neurons lie (Lurz et al. 2021, ICLR): a
    multilayer perceptron with ELUs and, for places within the image, a final tanh; no offset of a neuron's own.

    Coordinates are centred and divided by their largest absolute value, column by column, so that units do not
    matter; neurons that lie at one place share the receptive field's centre.

    Args:
        name: The session's, for error texts.
        session: It holds the columns in its neuron_metadata.
        columns: Their names, for example ("x", "y").
        hidden: Units of each hidden layer; none for a linear function before the tanh.

    Raises:
        ModelError: A column is lacking, or holds anything but finite numbers.
    """

    def __init__(self, name: str, session: SessionInfo, columns: Sequence[str], hidden: Sequence[int]) -> None:
        super().__init__()
        coordinates = torch.tensor([_numbers(name, session, column) for column in columns], dtype=torch.float64).T
        coordinates = coordinates - coordinates.mean(0)
        coordinates = coordinates / coordinates.abs().amax(0).clamp_min(1e-300)  # a constant column tells nothing: 0
        self.register_buffer("coordinates", coordinates.to(torch.get_default_dtype()))
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((len(columns), *hidden)):
            layers += [nn.Linear(before, after), nn.ELU()]
        self.network = nn.Sequential(*layers, nn.Linear((len(columns), *hidden)[-1], 2), nn.Tanh())

    def forward(self) -> Float[Tensor, "neurons 2"]:
        """(x, y) in -1..1, one a neuron."""
        return self.network(self.get_buffer("coordinates"))  # type: ignore[no-any-return]


def groups(sessions: Mapping[str, SessionInfo], column: str) -> tuple[dict[str, list[int]], int]:
    """Neurons with equal values of a column of their metadata, within a session and across sessions.

    Returns:
        {session: number of the group, one a neuron}, and how many groups there are.

    Raises:
        ModelError: A session lacks the column, or a neuron its value.
    """
    values = {name: _column(name, session, column) for name, session in sessions.items()}
    kinds: dict[Any, int] = {}
    for name, held in values.items():
        for neuron, value in enumerate(held):
            if value == "" or value != value:
                raise ModelError(
                    f"Session {name!r}: neuron {neuron} has no value of {column!r}, by which feature vectors are "
                    "shared. Fill the column, leave the neuron out, or use features='own'."
                )
            kinds.setdefault(value, len(kinds))
    return {name: [kinds[value] for value in held] for name, held in values.items()}, len(kinds)


def _numbers(name: str, session: SessionInfo, column: str) -> list[float]:
    found = []
    for neuron, value in enumerate(_column(name, session, column)):
        if isinstance(value, str) or not abs(value) < float("inf"):
            raise ModelError(
                f"Session {name!r}: expected finite numbers in the column {column!r}, from which places are predicted; "
                f"neuron {neuron} has {value!r}. Fill the column, leave the neuron out, or use location='free'."
            )
        found.append(float(value))
    return found


def _column(name: str, session: SessionInfo, column: str) -> tuple[Any, ...]:
    if column not in session.neuron_metadata:
        raise ModelError(
            f"Session {name!r}: its neurons have no metadata {column!r}."
            f"{did_you_mean(column, list(session.neuron_metadata)) or ' They have none at all.'}"
        )
    held = session.neuron_metadata[column]
    if len(held) != session.neurons:
        raise ModelError(
            f"Session {name!r}: expected one value of {column!r} a neuron ({session.neurons}), found {len(held)}."
        )
    return held
