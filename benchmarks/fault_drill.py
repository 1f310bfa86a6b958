"""Workers and their database are killed at random moments: python benchmarks/fault_drill.py [--help]

Some workers train short runs from one queue. At random moments a random worker is killed (SIGKILL) and a new one takes
its place, or the server is stopped in order or killed, and started again after up to two seconds. In the end each of
these must hold:

    runs         every run is stored once, by the one attempt of it that is done
    epochs       each run has each of its epochs once, with every score
    values       scores and weights are those of the same run that nobody disturbed, bit for bit
    queue        no job is left, and no attempt seems to run

Beside that it says how long workers were between two runs while others waited in the queue: from the end of training to
the beginning of the next, that is storing the result, and claiming a run.

The exit status is 1 where one does not. Servers other than the embedded one are started here, from Debian's programs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from _servers import SERVERS, Server
from tqdm import tqdm

EPOCHS = 80
WORKER = "import sys; from cotrain.cli import main; sys.exit(main(['work']))"
RECIPE = f'''
"""Short runs for the fault drill."""
from cotrain import Experiment, Recipe
from cotrain.data import ArraysConfig, LabelArrayConfig, MixingConfig, ResponseArrayConfig
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import TrainerConfig


class Drill(Recipe):
    """Is every run trained once, whatever happens?"""

    def experiments(self):
        """One, with many seeds."""
        yield Experiment(
            "short",
            data=ArraysConfig(
                path="drill.npz",
                tasks=(
                    LabelArrayConfig(task="digits"),
                    ResponseArrayConfig(task="cells", session="first", responses="responses"),
                ),
            ),
            model=SharedBackboneConfig(
                backbone=SmallCnnConfig(layers=((4, 3, 2), (6, 3, 1))),
                tasks=(
                    TaskConfig(name="digits", tap="layer2", head=LinearHeadConfig(), objective=CrossEntropyConfig()),
                    TaskConfig(name="cells", tap="layer1", head=GaussianReadoutConfig(), objective=GaussianConfig()),
                ),
            ),
            trainer=TrainerConfig(
                epochs={EPOCHS},
                device="cpu",
                mixing=MixingConfig(main="digits", batch_size=16, ratios=((1, (("cells", 1.0),)),)),
            ),
        )
'''


def main() -> int:
    options = arguments()
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="cotrain-drill-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # the server of root runs as another user
        server = SERVERS[options.server](home)
        prepare(home, server, options.runs)
        workers: list[subprocess.Popen[bytes]] = []
        try:
            told = drill(options, home, server, workers, dice)
            return verdict(home, options, told)
        finally:
            for worker in workers:
                worker.kill()
            server.stop()


def prepare(home: Path, server: Server, runs: int) -> None:
    """Write data and recipe, start the server, fill the queue."""
    pictures = np.random.default_rng(0)
    images = pictures.integers(0, 255, (120, 12, 12), dtype=np.uint8)
    labels = np.arange(120) % 3
    images[:, 0] = labels[:, None] * 80
    responses = images.reshape(120, -1) @ pictures.normal(size=(144, 6)) / 500 + pictures.normal(size=(120, 6))
    names = np.array(["dark", "grey", "light"])
    np.savez(home / "drill.npz", images=images, labels=labels, class_names=names, responses=responses)
    recipe = home / "drill.py"
    recipe.write_text(RECIPE.replace("def experiments", f"seeds = tuple(range({runs}))\n\n    def experiments"))
    own = {"COTRAIN_HOME": str(home), "COTRAIN_DATA": str(home), "COTRAIN_LOST_AFTER": "4", "OMP_NUM_THREADS": "1"}
    for name in [name for name in os.environ if name.startswith(("DJ_", "COTRAIN_"))]:
        del os.environ[name]
    os.environ.update(own | server.environment)
    server.start()
    from cotrain.cli import main as command

    if server.environment and command(["db", "init"]):
        raise SystemExit("The schema cannot be made.")
    if command(["enqueue", f"{recipe}:Drill"]):
        raise SystemExit("The queue cannot be filled.")


def drill(
    options: argparse.Namespace,
    home: Path,
    server: Server,
    workers: list[subprocess.Popen[bytes]],
    dice: random.Random,
) -> dict[str, Any]:
    """Let workers work and disturb them; what happened."""
    told: dict[str, Any] = {"kills": 0, "restarts": 0, "ends": Counter(), "seconds": time.monotonic()}
    events = ["kill"] * options.kills + ["restart"] * options.restarts
    dice.shuffle(events)
    due = time.monotonic() + 10  # the first ones need some seconds to begin
    with tqdm(total=options.runs, unit="run", disable=not sys.stderr.isatty()) as bar:
        while True:
            done = len(list(home.glob("runs/*/result.json")))
            bar.update(done - bar.n)
            for worker in [worker for worker in workers if worker.poll() is not None]:
                workers.remove(worker)
                told["ends"][worker.returncode] += 1
                if worker.returncode not in (0, -signal.SIGKILL):
                    raise SystemExit("A worker ended by itself: " + (home / "workers.log").read_text()[-3000:])
            if time.monotonic() - told["seconds"] > options.limit:
                raise SystemExit("Not done in time: " + (home / "workers.log").read_text()[-3000:])
            if done < options.runs or events:
                while len(workers) < options.workers and done < options.runs:
                    workers.append(start(home))
            if done == options.runs and not workers:
                break
            if events and time.monotonic() > due:
                disturb(events.pop(), server, workers, dice, told)
                due = time.monotonic() + dice.expovariate(1 / options.pause)
            time.sleep(0.05)
    told["left"] = len(events)
    told["seconds"] = time.monotonic() - told["seconds"]
    return told


def start(home: Path) -> subprocess.Popen[bytes]:
    log = (home / "workers.log").open("ab")
    return subprocess.Popen([sys.executable, "-c", WORKER], cwd=home, stdout=log, stderr=log)


def disturb(
    event: str, server: Server, workers: list[subprocess.Popen[bytes]], dice: random.Random, told: dict[str, Any]
) -> None:
    if event == "kill" and workers:
        dice.choice(workers).send_signal(signal.SIGKILL)
        told["kills"] += 1
    elif event == "restart":
        (server.kill if dice.random() < 0.5 else server.stop)()
        time.sleep(dice.uniform(0, 2))
        server.start()
        told["restarts"] += 1


def verdict(home: Path, options: argparse.Namespace, told: dict[str, Any]) -> int:
    """Look at what is stored, print the table, and compare with undisturbed runs."""
    import torch

    from cotrain.recipe import find_recipe
    from cotrain.tables.connect import connect
    from cotrain.tables.queries import curves
    from cotrain.tables.runs import Attempt, Run, TrainedModel
    from cotrain.training import run

    connect()
    attempts = Attempt().to_dicts()
    status = Counter(row["status"] for row in attempts)
    keys = [row["run_key"] for row in Run().proj().to_dicts()]
    done = Counter(row["run_key"] for row in attempts if row["status"] == "done")
    stored = {row["run_key"] for row in TrainedModel().proj().to_dicts()}
    columns = ["epoch", "task", "session", "split", "metric"]
    whole = different = 0
    experiments = {experiment.key(): experiment for experiment in find_recipe(f"{home / 'drill.py'}:Drill")().expand()}
    for key in tqdm(keys, unit="run", desc="undisturbed", disable=not sys.stderr.isatty()):
        found = curves({"run_key": key})
        alone = run(experiments[key], out=home / "undisturbed" / key)
        wanted = alone.scores[alone.scores.split != "test"].sort_values(columns, ignore_index=True)
        whole += found[columns].equals(wanted[columns])
        weights = torch.load(home / "runs" / key / "best.pt", weights_only=True)["model"]
        same = all(torch.equal(held, weights[name]) for name, held in alone.model.state_dict().items())
        different += not (same and found.value.equals(wanted.value))
    checks = {
        f"{len(stored)} of {options.runs} runs are stored": len(stored) == options.runs,
        f"{sum(done.values())} attempts are done, at most {max(done.values())} at a run": set(done) == set(keys)
        and max(done.values()) == 1,
        f"{whole} runs have each epoch of {EPOCHS} once, with every score": whole == options.runs,
        f"{different} runs differ from an undisturbed one in a score or a weight": different == 0,
        f"{len(TrainedModel.jobs)} jobs are left, {status['running']} attempts seem to run": not len(TrainedModel.jobs)
        and not status["running"],
        f"{told['left']} events found no work left": told["left"] == 0,
    }
    print(
        f"{options.server}: {options.workers} workers, {told['kills']} killed, {told['restarts']} restarts of the "
        f"server, {told['seconds']:.0f} s; attempts: {dict(status)}"
    )
    gaps = between_runs(home, {(row["run_key"], row["attempt"]): row["worker"] for row in attempts})
    if gaps:
        print(
            f"  between two runs of a worker, {len(gaps)} times: median {1e3 * statistics.median(gaps):.0f} ms, "
            f"longest {max(gaps):.2f} s"
        )
    for text, holds in checks.items():
        print(f"  {'ok ' if holds else 'BAD'} {text}")
    return 0 if all(checks.values()) else 1


def between_runs(home: Path, workers: dict[tuple[str, int], str]) -> list[float]:
    """Seconds from the end of a worker's training to its next run, from the log files."""
    spans: dict[str, list[tuple[datetime, datetime]]] = {}
    for path in home.glob("logs/*/attempt_*.log"):
        lines = path.read_text().splitlines()
        times = {}
        for line in lines:
            for word in ("begins", "is trained"):
                if line.endswith(word):
                    times[word] = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f")
        if len(times) == 2:
            worker = workers[path.parent.name, int(path.stem.rpartition("_")[2])]
            spans.setdefault(worker, []).append((times["begins"], times["is trained"]))
    pairs = (pair for span in spans.values() for pair in pairwise(sorted(span)))
    return [(later[0] - earlier[1]).total_seconds() for earlier, later in pairs]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=SERVERS, default="embedded")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--pause", type=float, default=2.5, help="mean seconds between two events")
    parser.add_argument("--limit", type=float, default=3600, help="seconds after which the drill is given up")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
