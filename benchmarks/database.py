"""Speed of the database: python benchmarks/database.py [--runs 10000]

Prints seconds of a cold start of the embedded server (the database is made), a warm start, connecting with all tables
declared; then fills it with synthetic runs of 100 epochs with 6 scores each, and prints milliseconds of writing an
epoch's scores, of the ten questions of docs/queries.md and of `cotrain ls`, each as the median of several beside its
limit. 10,000 runs take some minutes and 2 GB.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cotrain import Experiment, Recipe
from cotrain.cli import main
from cotrain.data import DigitsConfig, MixingConfig
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, SharedBackboneConfig
from cotrain.tables import claims, queries
from cotrain.tables._datajoint import dj
from cotrain.tables.attempt import DatabaseSink
from cotrain.tables.connect import connect, disconnect, embedded
from cotrain.tables.difference import config_differences
from cotrain.tables.provenance import record_provenance
from cotrain.tables.reporter import reporting
from cotrain.tables.runs import Attempt, EpochScore, ParentRun, RecipeRun, Run, TrainedModel
from cotrain.tables.runs import Recipe as RecipeTable
from cotrain.tables.tags import Tag
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, Score, TrainerConfig

ROUNDS, EPOCHS = 5, 100
SCORES = list(itertools.product(["it", "v4", ""], ["train", "validation"]))  # one metric each: 6 rows an epoch
METRIC = {"it": "accuracy", "v4": "correlation", "": "monitored"}
BATCH = 25  # runs whose epochs are written at once


class Sweep(Recipe):
    """How many runs can a lab ask questions of?"""

    runs = 10_000

    def expand(self) -> tuple[Experiment, ...]:
        """5 learning rates x 5 ratios x as many weight decays as it takes x 10 seeds."""
        tasks = (
            TaskConfig(name="it", tap="layer3", head=LinearHeadConfig(), objective=CrossEntropyConfig()),
            TaskConfig(name="v4", tap="layer2", head=GaussianReadoutConfig(), objective=GaussianConfig()),
        )
        data, model = DigitsConfig(), SharedBackboneConfig(tasks=tasks)
        grid = itertools.product(range(self.runs), (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), (0.25, 0.5, 1.0, 2.0, 4.0))
        found = []
        for decay, lr, ratio in grid:
            trainer = TrainerConfig(
                epochs=EPOCHS,
                optimiser=AdamWConfig(lr=lr, weight_decay=1e-4 * (decay + 1)),
                mixing=MixingConfig(main="it", ratios=((1, (("v4", ratio),)),)),
            )
            label = f"lr {lr:g}, ratio {ratio:g}, decay {decay}"
            for seed in range(10):
                if len(found) == self.runs:
                    return tuple(found)
                found.append(Experiment(label, data, model, trainer, seed=seed))
        return tuple(found)


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def fill(experiments: tuple[Experiment, ...], weights: Path) -> None:
    """Finished runs; each thirtieth has failed, some have tags, each hundredth starts from the one before."""
    random = np.random.default_rng(0)
    weights.write_bytes(b"weights")
    RecipeTable.insert1({"recipe": "benchmark.Sweep", "question": "How many?"})
    provenance = record_provenance()
    first = Run.load(Run.add(experiments[0]))  # the data and model are all runs'
    assert first.key() == experiments[0].key()
    for begin in range(0, len(experiments), BATCH):
        keys = []
        with dj.conn().transaction:
            for place, experiment in enumerate(experiments[begin : begin + BATCH], begin):
                keys.append(Run.add(experiment))
                RecipeRun.insert1(
                    {"recipe": "benchmark.Sweep", **keys[-1], "label": experiment.label, "place": place, **provenance}
                )
            _fill_some(keys, begin, provenance, random, weights)
        if begin % 2000 == 0:
            print(f"\r{begin} runs", end="", flush=True)
    print("\r", end="")


def _fill_some(keys: list[Any], begin: int, provenance: Any, random: np.random.Generator, weights: Path) -> None:
    failed = {place for place in range(begin, begin + len(keys)) if place % 30 == 0}
    told = {"worker": "w", "host": "gpu1", "pid": 1, "device": "NVIDIA A100", "command": "", **provenance}
    attempts, models, scores = [], [], []
    for place, key in enumerate(keys, begin):
        status = "failed" if place in failed else "done"
        error = "TrainingError: not finite" if place in failed else ""
        attempts.append({**key, "attempt": 1, **told, "status": status, "epoch": EPOCHS, "error": error})
        if place not in failed:
            best = {
                "attempt": 1,
                "best_epoch": 90,
                "monitored": 0.5,
                "seconds": 60.0,
                "data_info": {},
                "state": weights,
            }
            models.append({**key, **best})
            for task, split in [*SCORES, ("it", "test"), ("v4", "test")]:
                row = {"task": task, "session": "", "split": split, "metric": METRIC[task], "value": random.random()}
                scores.append({**key, **row})
    Attempt.insert(attempts)
    TrainedModel.insert(models, allow_direct_insert=True)
    TrainedModel.Score.insert(scores, allow_direct_insert=True)
    Tag.insert({**key, "tag": "paper"} for place, key in enumerate(keys, begin) if place % 50 == 1)
    ParentRun.insert({**key, "parent_key": keys[0]["run_key"]} for key in keys[1:2])
    values = iter(random.random(len(keys) * EPOCHS * len(SCORES)))
    lines = io.StringIO()
    for key, epoch, (task, split) in itertools.product(keys, range(1, EPOCHS + 1), SCORES):
        lines.write(f"{key['run_key']}\t1\t{epoch}\t{task}\t\t{split}\t{METRIC[task]}\t{next(values):.6f}\n")
    lines.seek(0)
    dj.conn()._conn.cursor().copy_expert(f"COPY {EpochScore().full_table_name} FROM STDIN", lines)


def questions() -> Iterator[tuple[str, float, Callable[[], object]]]:
    """What is asked, its limit in milliseconds (inf: none), and how."""
    two = {"lr": 1e-3, "mixing.ratios@1.v4": 2}
    accuracy = {"split": "validation", "task": "it", "metric": "accuracy"}
    some = Run.where(**two)
    one, other = Run().proj().to_dicts(order_by="run_key", limit=2)
    twenty = some.proj().to_dicts(limit=20)
    inf = float("inf")

    def best() -> object:
        found = TrainedModel.Score() & accuracy & Run.where(**two).proj()
        return (found & dj.Top(10, order_by="value DESC")).to_dicts()

    def commits() -> object:
        best = queries.overview(Run & some.proj(), columns=["label", "validation: it accuracy", "commit"])
        return best.nlargest(10, "validation: it accuracy")

    def over_epochs() -> object:
        return some.proj().aggr(EpochScore() & accuracy, best="MAX(value)").to_dicts()

    yield "runs with lr 1e-3 and ratio 2", 50, lambda: Run.where(**two).proj().to_dicts()
    yield "their best validation accuracy, top 10", 50, best
    yield "1. the same with label and commit", inf, commits
    yield "   best over epochs of these runs", inf, over_epochs
    yield "2. what differs between two runs", inf, lambda: config_differences([one["run_key"], other["run_key"]])
    yield "3. failed runs and why", inf, why
    yield "4. mean and error over seeds", inf, lambda: over_seeds(some)
    yield "5. curves of one run", inf, lambda: queries.curves(one)
    yield "   validation curves of 20 runs", inf, lambda: queries.epoch_scores(Run & twenty)
    yield "6. runs that started from a run", inf, lambda: (ParentRun() & {"parent_key": one["run_key"]}).to_dicts()
    yield "7. best predicted sessions", inf, lambda: queries.scores(some, task="v4", session=None)
    yield "8. what ran on which GPU, how long", inf, hours
    yield "9. everything tagged paper", inf, lambda: queries.overview(queries.runs(tags=["paper"]))
    yield "10. which commits all runs had", inf, lambda: queries.overview(queries.runs(), columns=["commit"])


def why() -> object:
    """Errors of failed runs."""
    return queries.overview(queries.runs(status=["failed"]), columns=["label", "error"])


def over_seeds(runs: Any) -> object:
    """Mean and standard error."""
    return queries.scores(runs, metric="correlation").groupby("label").value.agg(["mean", "sem"])


def hours() -> object:
    """Hours and runs of each device."""
    finished = Attempt() * TrainedModel().proj("seconds", "attempt")
    return dj.U("device").aggr(finished, hours="SUM(seconds) / 3600", n="COUNT(*)").to_dicts()


def told(name: str, taken: float, limit: float = float("inf")) -> None:
    """One row of the table, in milliseconds."""
    print(f"{name:57} {taken:10.1f}" + (f"{limit:10.0f}{taken / limit:10.2f}" if limit < float("inf") else ""))


def listed(*arguments: str) -> None:
    """`cotrain ls` in this process, connecting and writing included."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["ls", *arguments]) == 0
    assert out.getvalue()


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--runs", type=int, default=10_000, help="synthetic runs (default 10000)")
options = parser.parse_args()
with tempfile.TemporaryDirectory() as folder:
    Path(folder).chmod(0o755)  # where we are root, the server runs as another user
    cold, warm = [], []
    for number in range(ROUNDS):
        database = embedded(Path(folder) / str(number))
        cold.append(seconds(database.start))
        database.stop()
        warm.append(seconds(database.start))
        database.stop()
    print(f"load {os.getloadavg()[0]:.1f}")
    print(
        f"cold start {statistics.median(cold):.2f} s (limit 6), warm start {statistics.median(warm):.2f} s (limit 0.5)"
    )
    home = Path(folder) / "0"
    os.environ["COTRAIN_HOME"] = str(home)
    first = seconds(lambda: connect(home=home))
    disconnect()
    print(f"connect: declaring all tables {first:.2f} s, after that {seconds(lambda: connect(home=home)):.2f} s")
    Sweep.runs = options.runs
    experiments = Sweep().expand()
    took = seconds(lambda: fill(experiments, home / "weights.pt"))
    print(f"{options.runs} runs with {options.runs * EPOCHS * len(SCORES):,} epoch scores written in {took:.0f} s")
    dj.conn().query(f"ANALYZE {EpochScore().full_table_name}")
    attempts: list[Any] = []
    key = Run.add(Experiment("one more", DigitsConfig(), experiments[0].model, experiments[0].trainer, seed=1000))
    TrainedModel.jobs.insert1({**key, "status": "pending", "priority": 0})
    claiming = seconds(lambda: attempts.append(claims.claim(key, "benchmark", record_provenance())))
    with reporting("benchmark") as reporter:
        reporter.begin(attempts[0])
        sink = DatabaseSink(reporter)
        sink.start([], None)
        reporter.flush()
        waits, times = [], []
        for epoch in range(200):
            scores = [Score(epoch, task, "", split, METRIC[task], 0.5) for task, split in SCORES]
            waits.append(seconds(lambda epoch=epoch, scores=scores: sink.epoch(epoch, scores, 1.0)))
            times.append(waits[-1] + seconds(reporter.flush))
    print(f"\n{'what':58} median ms  limit ms     ratio")
    told("writing the 6 scores of an epoch", 1000 * statistics.median(times), 10)
    told("  of these, training waits", 1000 * statistics.median(waits))
    told("claiming a run", 1000 * claiming)
    for name, limit, ask in questions():
        ask()
        taken = 1000 * statistics.median(seconds(ask) for _ in range(ROUNDS))
        told(name, taken, limit)
    for arguments in ((), ("--where", "lr=1e-3", "--where", "mixing.ratios@1.v4=2"), ("--limit", "20")):
        taken = 1000 * statistics.median(seconds(lambda arguments=arguments: listed(*arguments)) for _ in range(3))
        told(" ".join(("cotrain ls", *arguments)), taken)
    print(f"load {os.getloadavg()[0]:.1f}")
    embedded(home).stop()
