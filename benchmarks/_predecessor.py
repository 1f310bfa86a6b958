"""The training loop that labs used before, written anew from what its users report of it.

Data. The main task's pictures are JPEG files. One process of a DataLoader opens each, cuts a random window out of the
picture with a margin of 4, mirrors it in half of the cases, turns it by up to 15 degrees, makes it grey, and
normalises it, picture by picture with Pillow; the last batch may be smaller. Neural sessions are normalised arrays in
memory, each with a DataLoader of its own (here without processes of their own, which would cost more).

Mixing. `alternate` yields, for each main batch, `ratio` neural batches, sessions in turn, then the main batch, which
tells the loop to step. All iterators, and the process with them, are made anew in each epoch.

Step. Batch to the device, forward, loss times a learnt weight, then 3 to 5 values to Python (`.item()`: loss, right
answers, weight), each added to a table by a path of names; backward; at the main batch the optimiser's step; in every
step the progress bar is written with the table's means. Its terminal is a file that keeps nothing here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from _steps import Watch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from tqdm import tqdm

from cotrain.data import Source


def picture_loader(folder: Path, count: int, *, size: int, batch: int, mean: float, std: float) -> DataLoader[Any]:
    """JPEG files in folders of classes, changed picture by picture."""
    from torchvision import datasets, transforms

    change = transforms.Compose(
        [
            transforms.RandomCrop(size, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(15),
            transforms.Grayscale(),
            transforms.ToTensor(),
            transforms.Normalize((mean,), (std,)),
        ]
    )
    held = datasets.ImageFolder(str(folder), transform=change)
    some = Subset(held, torch.randperm(len(held), generator=torch.Generator().manual_seed(0))[:count].tolist())
    return DataLoader(some, batch, shuffle=True, num_workers=1)


def session_loader(source: Source, *, batch: int, mean: float, std: float) -> DataLoader[Any]:
    """One session's images, normalised beforehand, with its responses."""
    images = source.images if isinstance(source.images, Tensor) else source.images[torch.arange(len(source))]
    return DataLoader(TensorDataset((images / 255 - mean) / std, source.targets), batch, shuffle=True)


def alternate(
    main: DataLoader[Any], sessions: Mapping[str, DataLoader[Any]], ratio: int = 1
) -> Iterator[tuple[str, Any, bool]]:
    """Yield (session or "", batch, whether to step) for one epoch."""
    running = {name: iter(loader) for name, loader in sessions.items()}
    turn = 0
    for batch in main:
        for _ in range(ratio):
            name = list(running)[turn % len(running)]
            turn += 1
            try:
                yield name, next(running[name]), False
            except StopIteration:
                running[name] = iter(sessions[name])
                yield name, next(running[name]), False
        yield "", batch, True


class Table:
    """Sums of an epoch under paths of names."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def log(self, value: float, *path: str) -> None:
        """Add a value."""
        place = self.values
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place.setdefault(path[-1], []).append(value)

    def shown(self) -> dict[str, str]:
        """What the progress bar shows."""
        return {
            f"{task} {name}": f"{sum(values) / sum(held['stimuli']):.3f}"
            for task, held in self.values.items()
            for name, values in held.items()
            if name in ("loss", "right")
        }


def without_input(model: nn.Module) -> nn.Module:
    """The model for images that the loaders have normalised."""

    class Repeat(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.channels = channels

        def forward(self, images: Tensor) -> Tensor:
            return images.expand(-1, self.channels, -1, -1)

    for task, entry in model.inputs.items():  # type: ignore[operator, union-attr]
        model.inputs[task] = Repeat(entry.channels)  # type: ignore[index, operator]
    return model


def epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    batches: Iterator[tuple[str, Any, bool]],
    steps: int,
    *,
    main: str,
    neural: str,
    watch: Watch = lambda _: nullcontext(),
) -> None:
    """Train for an epoch; the wait for each batch is the part "data"."""
    table, device = Table(), torch.device("cpu")
    model.train()
    optimiser.zero_grad()
    with open(os.devnull, "w") as nowhere, tqdm(total=steps, file=nowhere) as bar:
        while True:
            with watch("data"):
                found = next(batches, None)
            if found is None:
                return
            session, (images, targets), step = found
            images, targets = images.to(device), targets.to(device)
            task = neural if session else main
            objective = model.objectives[task]  # type: ignore[index]
            output = model(images, task, session)
            loss = objective.loss(output, targets, session)
            term = objective.weighted(loss)
            table.log(len(images), task, "stimuli")
            table.log(loss.item() * len(images), task, "loss")
            table.log(objective.log_variance.exp().item(), task, "weight")
            if not session:
                table.log((output.argmax(1) == targets).sum().item(), task, "right")
            term.backward()
            if step:
                optimiser.step()
                optimiser.zero_grad()
            bar.update()
            bar.set_postfix(table.shown())
