"""RDMs, comparisons and the bootstrap beside rsatoolbox: python benchmarks/rsa.py [--stimuli 1000] [--features 4096]

One thread on both sides, each measured in turn in one process; medians of process CPU times. The values of both must
agree to 1e-6. Needs the extra `references`.
"""

from __future__ import annotations

import argparse
import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from rsatoolbox import rdm as toolbox
from rsatoolbox.data import Dataset
from rsatoolbox.inference import eval_bootstrap_pattern, eval_dual_bootstrap
from rsatoolbox.model import ModelFixed

from cotrain.analysis import Rdm, compare_rdms, crossvalidated_rdm, rdm, rsa_bootstrap, to_rsatoolbox

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--stimuli", type=int, default=1000)
parser.add_argument("--features", type=int, default=4096)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--only", choices=("features", "rdms", "samples"), help="one part of the three")
parser.add_argument("--draws", type=int, default=100, help="of the bootstrap; times are given for 1,000")
options = parser.parse_args()
torch.set_num_threads(1)
warnings.simplefilter("ignore")  # of rsatoolbox


def measured(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median seconds of process time, in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):  # the first is not counted
        for held, action in zip(times, (ours, theirs), strict=True):
            started = time.process_time()
            action()
            if number:
                held.append(time.process_time() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def report(name: str, seconds: tuple[float, float], gap: float | None, scale: float = 1) -> None:
    ours, theirs = (scale * one for one in seconds)
    agree = "" if gap is None else f", values within {gap:.0e}"
    print(f"{name:<46} {1e3 * ours:10.2f} ms, rsatoolbox {1e3 * theirs:10.2f} ms: {theirs / ours:6.1f} times{agree}")
    if gap is not None and gap > 1e-6:
        raise SystemExit(f"{name}: the values differ by {gap:.2e}, more than 1e-6.")


def of_features() -> None:
    generator = np.random.default_rng(0)
    wide = generator.standard_normal((options.stimuli, options.features))
    for dtype in (np.float64, np.float32):
        values = wide.astype(dtype)
        data = Dataset(values)
        for ours, theirs in (("correlation", "correlation"), ("squared_euclidean", "euclidean")):
            expected = toolbox.calc_rdm(data, method=theirs).get_matrices()[0]
            gap = float(np.abs(rdm(values, ours) - expected).max())
            seconds = measured(
                lambda values=values, ours=ours: rdm(values, ours),
                lambda data=data, theirs=theirs: toolbox.calc_rdm(data, method=theirs),
                options.rounds,
            )
            report(f"{ours}, {np.dtype(dtype).name}", seconds, gap)
    repeats = generator.standard_normal((200, 4, 100))
    descriptors = {"stimulus": np.repeat(range(200), 4).tolist(), "repeat": list(range(4)) * 200}
    data = Dataset(repeats.reshape(-1, 100), obs_descriptors=descriptors)

    def theirs() -> Any:
        return toolbox.calc_rdm(data, method="crossnobis", descriptor="stimulus", cv_descriptor="repeat")

    gap = float(np.abs(crossvalidated_rdm(repeats) - theirs().get_matrices()[0]).max())
    report("crossnobis, 200 stimuli, 4 repeats, 100", measured(lambda: crossvalidated_rdm(repeats), theirs, 3), gap)


def of_rdms() -> None:
    generator = np.random.default_rng(1)
    for count, stimuli in ((1, 92), (100, 92), (1, options.stimuli), (10, options.stimuli)):
        for given in ("plain", "tagged"):
            a, b = (
                np.stack([rdm(generator.standard_normal((stimuli, 50))) for _ in range(count)]).squeeze()
                for _ in range(2)
            )
            theirs = to_rsatoolbox(a), to_rsatoolbox(b)
            ours = (a, b) if given == "plain" else (Rdm(a), Rdm(b))
            for method in ("corr", "cosine", "spearman", "rho-a", "tau-a", "corr_cov", "cosine_cov"):
                if method == "tau-a" and (stimuli > 400 or count > 1):
                    continue  # seconds on either side
                gap = float(np.abs(compare_rdms(*ours, method) - toolbox.compare(*theirs, method=method)).max())
                seconds = measured(
                    lambda ours=ours, method=method: compare_rdms(*ours, method),
                    lambda theirs=theirs, method=method: toolbox.compare(*theirs, method=method),
                    options.rounds * (10 if stimuli * count < 1000 else 1),
                )
                report(f"{method}, {count} x {count} RDMs of {stimuli}, {given}", seconds, gap)


def of_samples() -> None:
    generator = np.random.default_rng(2)
    truth = generator.standard_normal((92, 50))
    models = {f"model {n}": rdm(truth + n * generator.standard_normal((92, 50))) for n in range(8)}
    subjects = np.stack([rdm(truth + 2 * generator.standard_normal((92, 50))) for _ in range(4)])
    fixed = [ModelFixed(name, to_rsatoolbox(matrix)) for name, matrix in models.items()]
    data = to_rsatoolbox(subjects)
    for method in ("corr", "spearman"):
        for over, function in (("stimuli", eval_bootstrap_pattern), ("both", eval_dual_bootstrap)):
            seconds = measured(
                lambda method=method, over=over: rsa_bootstrap(
                    models, subjects, method, over=over, draws=options.draws
                ),
                lambda method=method, function=function: function(fixed, data, method=method, N=options.draws),
                1,
            )
            name = f"bootstrap over {over}, {method}, 1,000 draws"
            report(name, seconds, None, 1000 / options.draws)


load = os.getloadavg()[0]
print(
    f"{platform.machine()}, one thread, load {load:.1f}; torch {torch.__version__}, numpy {np.__version__}, rsatoolbox "
    f"{version('rsatoolbox')}; {options.stimuli} x {options.features}, medians of {options.rounds}; bootstrap: 92 "
    "stimuli, 8 models, 4 subjects, ceilings included on both sides"
)
for part, measure in (("features", of_features), ("rdms", of_rdms), ("samples", of_samples)):
    if options.only in (None, part):
        measure()
