"""Several processes that train one model: which of them this is, and what they tell each other.

The convention of all that is differentiated: each rank's loss is computed from its own share of a batch, or from all of
it, and the parameters' gradients are averaged over ranks. So the gradient of what one rank gives another is that of the
sum of all ranks' losses, which the average then divides by their number.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, TCPStore

from cotrain.errors import CotrainError, LostRankError, TrainingError

T = TypeVar("T")
TIMEOUT = "COTRAIN_RANKS_TIMEOUT"  # seconds that a rank waits for the others
TIMEOUT_SECONDS = 1800.0
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # as torchrun sets them; LOCAL_RANK too

_opened = 0  # process groups so far: each has its own keys in the store


@dataclass(frozen=True)
class Ranks:
    """Which of the processes that train together this is. That of a single process does nothing at no cost.

    Args:
        rank: From 0 on; the first alone writes, and talks to people and databases.
        local_rank: Among those of this machine: which GPU it takes.
        world_size: How many there are.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.world_size > 1

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, in place, by their means over ranks: one collective. All ranks give the same shapes."""
        if self.world_size == 1 or not tensors:
            return
        with torch.no_grad():
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            with self.together():
                dist.all_reduce(flat)
            flat /= self.world_size
            parts = flat.split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def gather(self, rows: Tensor, each: int = 1) -> Tensor:
        """The rows of all ranks in the order of the whole batch, differentiable where all ranks go on alike.

        Args:
            rows: Those of this rank, as many as the others have.
            each: Rows that stay together: ranks have turns of so many (balanced batches).
        """
        if self.world_size == 1:
            return rows
        gathered: Tensor = _Gathered.apply(rows, self, each)
        return gathered

    def stacked(self, tensor: Tensor) -> Tensor:
        """(ranks, ...) what each rank gives; not differentiable."""
        if self.world_size == 1:
            return tensor[None]
        with self.together(), torch.no_grad():
            found = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.world_size)]
            dist.all_gather(found, tensor.contiguous())
        return torch.stack(found)

    def share(self, rows: int) -> slice:
        """The rows, of so many, that are this rank's: parts without gaps, whose sizes differ by one at most."""
        return slice(rows * self.rank // self.world_size, rows * (self.rank + 1) // self.world_size)

    def joined(self, part: Tensor) -> Tensor | None:
        """On the first rank, all rows whose `share` the ranks give, on the CPU; None on others."""
        if self.world_size == 1:
            return part
        sizes = self.told(len(part))
        padded = torch.cat([part, part.new_zeros(max(sizes) - len(part), *part.shape[1:])])
        found = [torch.empty_like(padded) for _ in sizes] if self.first else None
        with self.together():
            dist.gather(padded, found, dst=0)
        return None if found is None else torch.cat([held[:size] for held, size in zip(found, sizes, strict=True)])

    def agreed(self, compute: Callable[[], T]) -> T:
        """What the first rank computes, on all; what it raises on purpose is raised on all.

        Raises:
            CotrainError: Whatever `compute` raises.
        """
        if self.world_size == 1:
            return compute()
        told: list[Any] = [None]
        if self.first:
            try:
                told = [(compute(), None)]
            except CotrainError as error:
                told = [(None, error)]
        with self.together():
            dist.broadcast_object_list(told, src=0)
        value, refused = told[0]
        if refused is not None:
            raise refused
        return value  # type: ignore[no-any-return]

    def told(self, value: T) -> list[T]:
        """A plain value of each rank, in their order."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        with self.together():
            dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Until all ranks are here."""
        self.told(None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Around a collective.

        Raises:
            LostRankError: It failed, as it does when another process has ended.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            other = f"Rank {1 - self.rank}" if self.world_size == 2 else "Another rank"
            raise LostRankError(
                f"{other} of {self.world_size} ended or does not answer; training stops. Start the same command again: "
                "it goes on from the last checkpoint."
            ) from error


ALONE = Ranks()


class _Gathered(torch.autograd.Function):
    """Rows of all ranks; backward gives each rank the gradients of its own, from all ranks' equal losses."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks, each: int) -> Tensor:
        ctx.ranks, ctx.each = ranks, each
        turns: Tensor = ranks.stacked(rows).unflatten(1, (-1, each))
        return turns.transpose(0, 1).flatten(0, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ranks: Ranks = ctx.ranks
        turns = gradient.unflatten(0, (-1, ranks.world_size, ctx.each))
        return turns[:, ranks.rank].flatten(0, 1) * ranks.world_size, None, None


def from_environment() -> Ranks:
    """What torchrun's variables say; without them there is one process.

    Raises:
        TrainingError: They are incomplete, or no numbers that fit.
    """
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return ALONE
    if missing := [name for name in VARIABLES if name not in os.environ]:
        raise TrainingError(f"RANK is set, but not {', '.join(missing)}: start with torchrun, or unset RANK.")
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    texts = [os.environ.get(name, os.environ["RANK"]) for name in names]
    if not all(text.isdecimal() for text in texts) or not int(texts[0]) < int(texts[2]):
        found = ", ".join(f"{name}={text}" for name, text in zip(names, texts, strict=True))
        raise TrainingError(f"Ranks are numbered from 0 and fewer than WORLD_SIZE; found {found}.")
    return Ranks(*map(int, texts))


@contextmanager
def ranks_here() -> Iterator[Ranks]:
    """The ranks of this process, which torchrun or `cotrain run --ranks` started; within, they can be talked to.

    On CPUs they talk by gloo, on GPUs by NCCL. A group that was opened before, here or by the caller, is used and left
    open. `COTRAIN_RANKS_TIMEOUT` says for how many seconds a rank waits for the others (1800).

    Raises:
        TrainingError: The variables are wrong, or the others cannot be reached.
    """
    ranks = from_environment()
    if not ranks.several or dist.is_initialized():
        yield ranks
        return
    _open(ranks)
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def _open(ranks: Ranks) -> None:
    global _opened
    seconds = os.environ.get(TIMEOUT, str(TIMEOUT_SECONDS))
    try:
        timeout = datetime.timedelta(seconds=float(seconds))
    except ValueError:
        raise TrainingError(f"{TIMEOUT} must be a number of seconds, found {seconds!r}.") from None
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by whoever started the ranks
    try:
        store = TCPStore(
            *place, ranks.world_size, is_master=ranks.first and not hosted, timeout=timeout, multi_tenant=True
        )
        _opened += 1
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus else "gloo",
            store=PrefixStore(f"cotrain/{attempt}/{_opened}", store),
            rank=ranks.rank,
            world_size=ranks.world_size,
            timeout=timeout,
        )
    except RuntimeError as error:
        raise TrainingError(
            f"Rank {ranks.rank} does not reach the others at {place[0]}:{place[1]} within {seconds} seconds. Are all "
            f"{ranks.world_size} started, and may they connect to each other?"
        ) from error
