"""Speed of manifold geometry: python benchmarks/manifolds.py [--solvers scipy numba]

Made-up manifolds with centres that share directions (50 of 50 points in 500 neurons by default): the projections,
the search for common directions, and all of `manifold_geometry`, in turn in one process, with one thread; medians of
several, of process CPU time. Beside them, where it is installed (import name mftma), the published Python code on the
same data; otherwise its times on such data on another machine, which measure nothing here.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy: two threads make these small problems slower

import numpy as np

from cotrain.analysis import center_subspace, manifold_geometry
from cotrain.cones import SOLVERS, cone_coefficients, require_solver

PUBLISHED = {"projections": 11.3, "center subspace": 24.6, "end to end": 37.3}  # seconds, on a 2-core Xeon, Python 3.11
WANTED = {"scipy": 10, "numba": 50}  # times as fast from end to end

parser = argparse.ArgumentParser(description="Speed of manifold geometry beside the published Python code.")
parser.add_argument("--manifolds", type=int, default=50, help="(default: %(default)s)")
parser.add_argument("--points", type=int, default=50, help="of each (default: %(default)s)")
parser.add_argument("--neurons", type=int, default=500, help="(default: %(default)s)")
parser.add_argument("--draws", type=int, default=200, help="random directions of each (default: %(default)s)")
parser.add_argument("--rank", type=int, default=3, help="directions that centres share (default: %(default)s)")
parser.add_argument("--solvers", nargs="+", choices=SOLVERS, help="(default: scipy, and numba where it is installed)")
parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
options = parser.parse_args()
solvers = options.solvers or ["scipy", *(["numba"] if importlib.util.find_spec("numba") else [])]
for solver in solvers:
    require_solver(solver)


def made_up() -> list[np.ndarray]:
    """Variances along the axes of a manifold fall as a power law."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(options.neurons, options.rank)) @ rng.normal(size=(options.rank, options.manifolds))
    centers = rng.normal(size=(options.neurons, options.manifolds)) + 3 * shared
    scale = np.arange(1, options.points + 1) ** -0.75
    scale *= 1.7 / np.linalg.norm(scale)  # of centres, once what they share is removed
    found = []
    for center in centers.T:
        axes = np.linalg.qr(rng.normal(size=(options.neurons, options.points)))[0] * np.sqrt(options.neurons) * scale
        found.append(center[:, None] + axes @ rng.normal(size=(options.points, options.points)))
    return found


def seconds(action: Callable[[], object]) -> float:
    """Of one call, of the processor."""
    started = time.process_time()
    action()
    return time.process_time() - started


clouds = made_up()
centers = np.stack([cloud.mean(1) for cloud in clouds], 1)
removed = center_subspace(centers)
rng = np.random.default_rng(1)
frames, directions = [], []
for cloud in clouds:
    rest = cloud - centers.mean(1, keepdims=True)
    rest = rest - removed.basis @ (removed.basis.T @ rest)
    center = rest.mean(1, keepdims=True)
    points = np.linalg.qr((rest - center) / np.linalg.norm(center))[1].T
    frames.append(np.c_[points, np.ones(len(points))])
    directions.append(rng.normal(size=(options.draws, points.shape[1] + 1)))


def projections(solver: str) -> Callable[[], object]:
    """All of one analysis."""
    return lambda: [cone_coefficients(s, t, solver=solver) for s, t in zip(frames, directions, strict=True)]


def end_to_end(solver: str) -> Callable[[], object]:
    """From points to capacity, radius and dimension."""
    return lambda: manifold_geometry(clouds, n_t=options.draws, solver=solver)


steps: dict[tuple[str, str], Callable[[], object]] = {("center subspace", ""): lambda: center_subspace(centers)}
for solver in solvers:
    steps["projections", solver] = projections(solver)
    steps["end to end", solver] = end_to_end(solver)
published = importlib.util.find_spec("mftma") is not None
if published:
    from mftma.manifold_analysis_correlation import manifold_analysis_corr

    steps["end to end", "published"] = lambda: manifold_analysis_corr(clouds, 0, options.draws, n_reps=10)

times: dict[tuple[str, str], list[float]] = {step: [] for step in steps}
for (_, solver), action in steps.items():  # compiled, and in memory
    if solver != "published":
        action()
for turn in range(options.rounds):
    for step, action in steps.items():
        if step[1] != "published" or turn == 0:
            times[step].append(seconds(action))
median = {step: statistics.median(held) for step, held in times.items()}

geometry = manifold_geometry(clouds, n_t=options.draws, solver=solvers[-1])
print(
    f"{options.manifolds} manifolds of {options.points} points, {options.neurons} neurons, {options.draws} directions; "
    f"{geometry.n_removed} directions removed, capacity {geometry.mean_capacity:.4f} +- "
    f"{geometry.mean_capacity_error:.4f}; load {os.getloadavg()[0]:.1f}; medians of {options.rounds}"
)
usual = (options.manifolds, options.points, options.neurons, options.draws, options.rank) == (50, 50, 500, 200, 3)
for (name, solver), value in median.items():
    line = f"  {name:<16} {solver:<10} {value:8.3f} s"
    if solver == "published":
        print(line)
        continue
    if published and name == "end to end":
        line += f"   the published code takes {median['end to end', 'published'] / value:.0f} times as long"
    elif usual and not published:
        line += (
            f"   the published code took {PUBLISHED[name]:.1f} s elsewhere: {PUBLISHED[name] / value:.0f} times as long"
        )
    if name == "end to end":
        line += f" (wanted: {WANTED.get(solver, 1)})"
    print(line)
if not published:
    print("  The published code is not installed here (mftma); what it took elsewhere is a hint, not a measurement.")
