"""Speed of the embedded database: python benchmarks/database.py

Prints seconds of a cold start (the database is made), a warm start, connecting with all tables declared, and
milliseconds of writing one epoch's scores, each as the median of several, beside its limit.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cotrain import Experiment
from cotrain.data import DigitsConfig, MixingConfig
from cotrain.losses import CrossEntropyConfig
from cotrain.models import LinearHeadConfig, SharedBackboneConfig
from cotrain.tables.attempt import DatabaseSink, recorded
from cotrain.tables.connect import connect, disconnect, embedded
from cotrain.tables.runs import Run
from cotrain.tasks import TaskConfig
from cotrain.training import Score, TrainerConfig

ROUNDS, EPOCHS, ROWS = 5, 200, 12


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


with tempfile.TemporaryDirectory() as folder:
    Path(folder).chmod(0o755)  # where we are root, the server runs as another user
    cold, warm = [], []
    for number in range(ROUNDS):
        database = embedded(Path(folder) / str(number))
        cold.append(seconds(database.start))
        database.stop()
        warm.append(seconds(database.start))
        database.stop()
    print(
        f"cold start {statistics.median(cold):.2f} s (limit 6), warm start {statistics.median(warm):.2f} s (limit 0.5)"
    )
    home = Path(folder) / "0"
    first = seconds(lambda: connect(home=home))
    disconnect()
    print(f"connect: declaring all tables {first:.2f} s, after that {seconds(lambda: connect(home=home)):.2f} s")
    task = TaskConfig(name="digits", tap="layer3", head=LinearHeadConfig(), objective=CrossEntropyConfig())
    model, trainer = SharedBackboneConfig(tasks=(task,)), TrainerConfig(mixing=MixingConfig(main="digits"))
    key = Run.add(Experiment("benchmark", DigitsConfig(), model, trainer))
    with recorded(key) as attempt:
        sink = DatabaseSink(attempt)
        sink.start([], None)
        times = []
        for epoch in range(EPOCHS):
            scores = [Score(epoch, "digits", "", "validation", f"metric{row}", 0.5) for row in range(ROWS)]
            times.append(seconds(lambda epoch=epoch, scores=scores: sink.epoch(epoch, scores, 1.0)))
    print(f"{1000 * statistics.median(times):.1f} ms for one epoch's {ROWS} scores (limit 10)")
    disconnect()
    embedded(home).stop()
