"""The small lab behind docs/queries.md: python docs/queries_lab.py

Makes a database with some runs in a temporary folder, runs each query of docs/queries.md on it, and writes what they
print into that file. It takes a minute or two.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cotrain import Experiment, Recipe
from cotrain.data import ArraysConfig, LabelArrayConfig, MixingConfig, ResponseArrayConfig
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, StartFromConfig, TrainerConfig, run_of

HERE = Path(__file__).resolve().parent
GUIDE = HERE / "queries.md"
BLOCK = re.compile(r"```(sh|python)\n(.*?)```\n(?:\n```text\n.*?```\n)?", re.DOTALL)
STIMULI, SIZE, NEURONS, CLASSES = 180, 12, 8, 3

DATA = ArraysConfig(
    path="lab.npz",
    tasks=(
        LabelArrayConfig(task="image"),
        ResponseArrayConfig(task="v4", session="may", responses="may"),
        ResponseArrayConfig(task="v4", session="june", responses="june"),
    ),
)
TASKS = (
    TaskConfig(name="image", tap="layer2", head=LinearHeadConfig(), objective=CrossEntropyConfig()),
    TaskConfig(name="v4", tap="layer1", head=GaussianReadoutConfig(), objective=GaussianConfig()),
)
MODEL = SharedBackboneConfig(backbone=SmallCnnConfig(layers=((4, 3, 2), (6, 3, 1))), tasks=TASKS)


def experiment(lr: float, ratio: float, *, epochs: int = 4) -> Experiment:
    """Gratings and V4 neurons."""
    mixing = MixingConfig(main="image", batch_size=16, ratios=((1, (("v4", ratio),)),))
    trainer = TrainerConfig(epochs=epochs, device="cpu", optimiser=AdamWConfig(lr=lr), mixing=mixing)
    return Experiment(f"lr {lr:g}, ratio {ratio:g}", DATA, MODEL, trainer)


class Ratios(Recipe):
    """How much V4, and how fast?"""

    seeds: ClassVar = (0, 1, 2)

    def experiments(self) -> Iterator[Experiment]:
        """Two learning rates, two ratios."""
        for lr in (1e-3, 1e-2):
            for ratio in (0.5, 2.0):
                yield experiment(lr, ratio)


class Transfer(Recipe):
    """Does a trained network learn on, and does an absurd learning rate fail?"""

    def experiments(self) -> Iterator[Experiment]:
        """One that starts from a run of `Ratios`, one that cannot be trained."""
        first = experiment(1e-3, 2.0)
        yield first.vary("goes on", model=StartFromConfig(model=MODEL, run=run_of(first)))
        yield experiment(1e30, 2.0)


def write_data(folder: Path) -> None:
    """Gratings of three widths, and the responses of two sessions to them; those of June are noisier."""
    random = np.random.default_rng(0)
    labels = np.arange(STIMULI) % CLASSES
    columns = np.arange(SIZE)[None, :] // (labels[:, None] + 1) % 2
    images = 100 * columns[:, None, :] + random.integers(0, 100, (STIMULI, SIZE, SIZE))
    arrays = {"images": images.astype(np.uint8), "labels": labels}
    for session, noise in (("may", 0.5), ("june", 2.0)):
        means = images.reshape(STIMULI, -1) @ random.normal(size=(SIZE * SIZE, NEURONS)) / 300
        arrays[session] = means + noise * random.normal(size=means.shape)
    np.savez(folder / "lab.npz", **arrays, class_names=np.array(["thin", "middle", "broad"]))


def ask(kind: str, code: str, names: dict[str, Any]) -> str:
    """What a block of the guide prints: commands, or lines of Python, which see the names of earlier ones."""
    from cotrain.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as out:
        if kind == "python":
            exec(compile(code, "queries.md", "exec"), names)  # our own text
        for line in code.replace("\\\n", " ").splitlines() if kind == "sh" else ():
            if status := main(shlex.split(line)[1:]):
                raise RuntimeError(f"{line} ended with {status}")
    return out.getvalue()


def make(guide: Path = GUIDE) -> None:
    """Train, ask, and write the answers down."""
    from cotrain.tables.connect import connect, disconnect, embedded

    def answered(block: re.Match[str]) -> str:
        kind, code = block.groups()
        connect()
        out = "\n".join(line.rstrip() for line in ask(kind, code, names).strip("\n").splitlines())
        return f"```{kind}\n{code}```\n" + (f"\n```text\n{out}\n```\n" if out else "")

    names: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)  # where we are root, the server runs as another user
        os.environ |= {"COTRAIN_HOME": home, "COTRAIN_DATA": home, "OMP_NUM_THREADS": "1"}
        write_data(Path(home))
        try:
            for name in ("Ratios", "Transfer"):
                ask("sh", f"cotrain enqueue {HERE / 'queries_lab.py'}:{name}", {})
            with contextlib.suppress(RuntimeError):  # one run fails, as it is meant to
                ask("sh", "cotrain work", {})
            for run in experiment(1e-2, 2.0).key(), experiment(1e-3, 2.0).key():
                ask("sh", f"cotrain tag {run} paper", {})
            os.chdir(home)
            guide.write_text(BLOCK.sub(answered, guide.read_text(encoding="utf-8")), encoding="utf-8")
        finally:
            disconnect()
            embedded(Path(home)).stop()


if __name__ == "__main__":
    make()
