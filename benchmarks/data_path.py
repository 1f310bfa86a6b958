"""Training images a second on one core, and their memory: python benchmarks/data_path.py [--help]

Colour images of 64 x 64 pixels come in batches of 128, shifted by up to 4 pixels, mirrored, turned by up to 15 degrees,
made grey and normalised; cotrain makes images grey once, when they are loaded. Each way of doing this runs in a process
of its own, on one thread; the processes take turns, so that a busy machine slows all of them. Images a second are those
of the processes' CPU time, medians of several turns; the factor is the median over turns of the factor within the turn.
Memory is the highest of the process, libraries included, as the system counts it: pages of a mapped file that were
touched are part of it.

The pictures are those of CIFAR-10 where COTRAIN_TEST_DATA names a folder with cifar10/cifar10_jpeg_20k.npz, enlarged,
and smooth random ones elsewhere. Then: what 32 neural sessions add to an epoch of the loader, against one session of
as many stimuli and with as many micro-steps.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

SIZE, BATCH, MEAN, STD = 64, 128, 0.45, 0.22
PATHS = {  # name: what is compared
    "files": "JPEG files, Pillow image by image (ImageFolder)",
    "memory": "uint8 in memory, Pillow image by image",
    "v2": "torchvision.transforms.v2 (one draw for a whole batch)",
    "kornia": "kornia, draws for each image",
    "ours": "cotrain.data.augment, resident uint8, made grey when loaded",
    "mapped": "cotrain.data.augment, memory map, made grey when decoded",
    "colour": "cotrain.data.augment, resident uint8, three channels kept",
}


def pictures(count: int) -> np.ndarray:
    """uint8 (count, SIZE, SIZE, 3)."""
    from PIL import Image

    file = Path(os.environ.get("COTRAIN_TEST_DATA", "")) / "cifar10" / "cifar10_jpeg_20k.npz"
    if os.environ.get("COTRAIN_TEST_DATA") and file.is_file():
        small = np.load(file)["train_images"][:count]
        small = small if small.shape[-1] == 3 else small.transpose(0, 2, 3, 1)
    else:
        small = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    small = np.resize(small, (count, *small.shape[1:]))
    return np.stack([np.asarray(Image.fromarray(s).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for s in small])


def write(folder: Path, images: np.ndarray) -> None:
    """The same pictures as JPEG files in folders of classes, and as arrays with the channels first."""
    from PIL import Image

    for number, image in enumerate(images):
        place = folder / "jpeg" / str(number % 10)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.jpeg", quality=90)
    np.save(folder / "images.npy", images.transpose(0, 3, 1, 2))
    grey = [np.asarray(Image.fromarray(image).convert("L")) for image in images]
    np.save(folder / "grey.npy", np.stack(grey)[:, None])


def a_pass(name: str, folder: Path) -> Callable[[], Iterable[Any]]:
    """A function that goes once through the images in random order, and yields normalised batches."""
    if name in ("files", "memory"):
        return image_by_image(name, folder)
    import torch

    file = folder / ("grey.npy" if name in ("ours", "mapped") else "images.npy")
    images = np.load(file, mmap_mode="r" if name == "mapped" else None)
    resident = torch.empty(0) if name == "mapped" else torch.from_numpy(images)

    def fetch(index: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(images[index.numpy()]) if name == "mapped" else resident.index_select(0, index)

    change = batched(name)

    def run() -> Iterator[Any]:
        for index in torch.randperm(len(images)).split(BATCH):
            yield change(fetch(index))

    return run


def image_by_image(name: str, folder: Path) -> Callable[[], Iterable[Any]]:
    """The usual loader of torchvision, on Pillow's images."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import datasets, transforms

    change = transforms.Compose(
        [
            transforms.RandomCrop(SIZE, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(15),
            transforms.Grayscale(),
            transforms.ToTensor(),
            transforms.Normalize((MEAN,), (STD,)),
        ]
    )

    class InMemory(Dataset[Any]):
        def __init__(self) -> None:
            self.images = np.ascontiguousarray(np.load(folder / "images.npy").transpose(0, 2, 3, 1))

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, number: int) -> Any:
            return change(Image.fromarray(self.images[number])), number % 10

    data: Any = datasets.ImageFolder(str(folder / "jpeg"), transform=change) if name == "files" else InMemory()
    return lambda: DataLoader(data, BATCH, shuffle=True, num_workers=0)


def batched(name: str) -> Callable[[Any], Any]:
    """What is done with a uint8 batch."""
    if name == "v2":
        import torch
        from torchvision.transforms import v2

        return v2.Compose(
            [
                v2.RandomCrop(SIZE, padding=4),
                v2.RandomHorizontalFlip(),
                v2.RandomRotation(15),
                v2.Grayscale(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize((MEAN,), (STD,)),
            ]
        )
    if name == "kornia":
        import torch
        from kornia import augmentation

        whole = torch.nn.Sequential(
            augmentation.RandomCrop((SIZE, SIZE), padding=4),
            augmentation.RandomHorizontalFlip(),
            augmentation.RandomRotation(15.0, p=1.0),
            augmentation.RandomGrayscale(p=1.0),
        )
        return lambda images: (whole(images.float().div_(255))[:, :1] - MEAN) / STD
    from cotrain.data import AugmentConfig, augment

    apply = augment(AugmentConfig(shift=4, mirror=True, rotation=15))
    seeds = iter(range(2**62))
    return lambda images: (apply(images, next(seeds)) - MEAN) / STD


def serve(name: str, folder: Path, least: float, line: Connection) -> None:
    """In a process of its own: for each message one turn of at least so many seconds, answered with images a second."""
    import torch

    torch.set_num_threads(1)
    run = a_pass(name, folder)
    for batch in run():  # once to warm up, and to see that it is what it should be
        pixels = batch[0] if isinstance(batch, (list, tuple)) else batch
        assert pixels.shape[1:] == (3 if name == "colour" else 1, SIZE, SIZE) and pixels.dtype == torch.float32
    line.send(None)
    while line.recv():
        images, started = 0, time.process_time()
        while time.process_time() - started < least:
            images += sum(len(batch[0]) if isinstance(batch, (list, tuple)) else len(batch) for batch in run())
        line.send(images / (time.process_time() - started))
    line.send(peak_memory())


def peak_memory() -> float:
    """MB. Linux counts that of the process itself apart; what `resource` says there may stem from its parent."""
    status = Path("/proc/self/status")
    if status.is_file():
        fields = dict(row.split(":", 1) for row in status.read_text().splitlines() if ":" in row)
        if "VmHWM" in fields:
            return int(fields["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(folder: Path, turns: int, least: float) -> None:
    """All paths in turn, as a table."""
    names = [name for name in PATHS if name != "kornia" or importlib.util.find_spec("kornia")]
    context = multiprocessing.get_context("spawn")  # a fork would take the parent's memory along
    lines, processes = {}, []
    for name in names:
        lines[name], other = context.Pipe()
        processes.append(context.Process(target=serve, args=(name, folder, least, other), daemon=True))
        processes[-1].start()
        lines[name].recv()
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(turns):
        for name in names:
            lines[name].send(True)
            rates[name].append(lines[name].recv())
    print("| path | images/s | to the first | peak MB |\n|---|---:|---:|---:|")
    for name in names:
        lines[name].send(False)
        factor = statistics.median(own / first for own, first in zip(rates[name], rates[names[0]], strict=True))
        print(f"| {PATHS[name]} | {statistics.median(rates[name]):,.0f} | {factor:.1f}x | {lines[name].recv():.0f} |")
    for process in processes:
        process.join()
    print("limit: cotrain.data.augment on resident images 10x")


def sessions(main_batches: int, turns: int) -> None:
    """CPU seconds of an epoch of the loader with 32 sessions of 1,000 stimuli, and with one of 32,000."""
    import torch

    from cotrain.data import MixingConfig, MixingLoader, Source

    torch.set_num_threads(1)
    count = BATCH * main_batches
    main = Source("classification", torch.zeros(count, 1, SIZE, SIZE, dtype=torch.uint8), torch.zeros(count).long())
    images, responses = torch.zeros(32_000, 1, SIZE, SIZE, dtype=torch.uint8), torch.zeros(32_000, 100)
    config = MixingConfig(main="objects", ratios=((1, (("v1", 1.0),)),), batch_size=BATCH)

    def loader(number: int) -> MixingLoader:
        parts = zip(images.chunk(number), responses.chunk(number), strict=True)
        neural = {f"s{place}": Source("neural", *part) for place, part in enumerate(parts)}
        return MixingLoader({"objects": {"": main}, "v1": neural}, config, seed=0)

    def epoch(held: MixingLoader) -> float:
        started = time.process_time()
        for _ in held:
            pass
        return time.process_time() - started

    one, many = loader(1), loader(32)
    steps = len(one)
    assert len(many) == steps
    epoch(one), epoch(many)
    pairs = [(epoch(one), epoch(many)) for _ in range(turns)]
    added = statistics.median(second - first for first, second in pairs)
    alone = statistics.median(first for first, _ in pairs)
    print(f"32 sessions add {added:.3f} s to an epoch of {steps} micro-steps, {alone:.3f} s with 1 (limit 0.2)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images and shorter turns: half a minute, less sure")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, pictures(512 if quick else 2048))
        compare(folder, turns=5 if quick else 7, least=0.2 if quick else 1.0)
    sessions(100 if quick else 400, turns=5 if quick else 7)


if __name__ == "__main__":
    main()
