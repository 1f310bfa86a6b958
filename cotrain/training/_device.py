"""Where training runs: the device, its random generators, and what of the data lies there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from cotrain.data import Data, ImageRows, MappedImages, Source, bytes_of
from cotrain.errors import TrainingError
from cotrain.training._ranks import ALONE, Ranks

log = logging.getLogger(__name__)


def pick_device(name: str, ranks: Ranks = ALONE) -> torch.device:
    """The device that a config means; of several ranks each takes a GPU of its own.

    Raises:
        TrainingError: There is none of that name here, or ranks would share a GPU.
    """
    if ranks.several and (name == "cuda" or (name == "auto" and torch.cuda.is_available())):
        if ranks.local_rank >= (found := torch.cuda.device_count()):
            raise TrainingError(
                f"Each rank needs a GPU of its own; rank {ranks.rank} finds {found} here. Start no more ranks than "
                "there are GPUs, or use device='cpu'."
            )
        torch.cuda.set_device(ranks.local_rank)
        return torch.device("cuda", ranks.local_rank)
    if ranks.several and name.startswith("cuda"):
        raise TrainingError(f"Several ranks cannot share the GPU {name!r}; write device='auto' or 'cuda'.")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        known = device.type in ("cpu", "cuda")
    except RuntimeError:
        known = False
    if not known:
        raise TrainingError(f"There is no device {name!r}; write 'auto', 'cpu', 'cuda' or 'cuda:0'.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainingError(f"Device {name!r} was asked for, but torch finds no CUDA GPU here. Use 'auto' or 'cpu'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TrainingError(f"Device {name!r} was asked for, but there are {torch.cuda.device_count()} GPUs here.")
    return device


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators (dropout, sampled readouts) for training, and give the caller's back after."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed the caller's other GPUs
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def reading_threads(sources: Mapping[str, Mapping[str, Source]], device: torch.device) -> int:
    """How many threads are to read batches ahead: many where files are decoded, none where a batch is a mere copy."""
    images = [source.images for held in sources.values() for source in held.values()]
    decoding = max((held.stack.workers for held in images if isinstance(held, ImageRows)), default=0)
    # a GPU computes while the copies for it are made; a CPU that computes itself has no thread to spare
    copying = 2 if device.type == "cuda" and any(held.device.type == "cpu" for held in images) else 0
    return max(decoding, copying)


def resident(data: Data, device: torch.device) -> Mapping[str, Mapping[str, Mapping[str, Source]]]:
    """The splits, with the training images on the GPU where they fill no more than a quarter of its free memory."""
    if device.type != "cuda":
        return data.splits
    size = bytes_of([source.images for held in data.splits["train"].values() for source in held.values()])
    if size > torch.cuda.mem_get_info(device)[0] / 4:
        log.info("%.1f GB of training images stay in main memory.", size / 1e9)
        return data.splits
    stacks: dict[int, MappedImages] = {}
    train = {
        task: {session: source.to(device, stacks) for session, source in sessions.items()}
        for task, sessions in data.splits["train"].items()
    }
    return {**data.splits, "train": train}
