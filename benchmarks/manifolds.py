"""Speed of manifold geometry: python benchmarks/manifolds.py [--published FOLDER]

Made-up manifolds with centres that share directions (50 of 50 points in 500 neurons by default): the projections,
the search for common directions, and all of `manifold_geometry`, in turn in one process, with one thread; medians of
several, of the processor and by the clock, which on a busy machine says little.

FOLDER holds the published Python code and what it needs: the file mftma/manifold_analysis_correlation.py of the
repository schung039/neural_manifolds_replicaMFT, and `pip install --target FOLDER --no-deps pymanopt==0.2.5 autograd
cvxopt`. It runs once on the same manifolds, with as many directions and restarts, and the table says how many times as
long it takes:

- "end to end" is what `manifold_geometry` does by default, "its definitions" with variant="follow_up";
- "at equal error" takes so few directions that the standard error of the mean capacity is still no larger than without
  control variates, which the published code has not.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy: two threads make these small problems slower

import numpy as np

from cotrain.analysis import center_subspace, manifold_geometry
from cotrain.cones import SOLVERS, cone_coefficients, require_solver

WANTED = {"scipy": 10, "numba": 50}  # times as fast from end to end

parser = argparse.ArgumentParser(description="Speed of manifold geometry beside the published Python code.")
parser.add_argument("--manifolds", type=int, default=50, help="(default: %(default)s)")
parser.add_argument("--points", type=int, default=50, help="of each (default: %(default)s)")
parser.add_argument("--neurons", type=int, default=500, help="(default: %(default)s)")
parser.add_argument("--draws", type=int, default=200, help="random directions of each (default: %(default)s)")
parser.add_argument("--rank", type=int, default=3, help="directions that centres share (default: %(default)s)")
parser.add_argument("--solvers", nargs="+", choices=SOLVERS, help="(default: scipy, and numba where it is installed)")
parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
parser.add_argument("--published", metavar="FOLDER", help="with the published code, to be run beside ours")
options = parser.parse_args()
if options.published:
    sys.path.append(options.published)  # last, so that no package of it stands before ours
    from mftma.manifold_analysis_correlation import manifold_analysis_corr
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


def seconds(action: Callable[[], object]) -> tuple[float, float]:
    """Of one call, of the processor and by the clock."""
    started = time.process_time(), time.perf_counter()
    action()
    return time.process_time() - started[0], time.perf_counter() - started[1]


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


def end_to_end(solver: str, **changes: object) -> Callable[[], object]:
    """From points to capacity, radius and dimension."""
    return lambda: manifold_geometry(clouds, **{"n_t": options.draws, "solver": solver, **changes})


controlled, plain = (
    manifold_geometry(clouds, n_t=options.draws, solver=solvers[-1], control_variates=held) for held in (True, False)
)
gain = (plain.mean_capacity_error / controlled.mean_capacity_error) ** 2
fewer = max(math.ceil(options.draws / gain), 60)  # 60: below, control variates are left out
steps: dict[tuple[str, str], Callable[[], object]] = {("center subspace", ""): lambda: center_subspace(centers)}
for solver in solvers:
    steps["projections", solver] = projections(solver)
    steps["end to end", solver] = end_to_end(solver)
    steps["its definitions", solver] = end_to_end(solver, variant="follow_up")
    steps["at equal error", solver] = end_to_end(solver, n_t=fewer)

times: dict[tuple[str, str], list[tuple[float, float]]] = {step: [] for step in steps}
for action in steps.values():  # compiled, and in memory
    action()
for _ in range(options.rounds):
    for step, action in steps.items():
        times[step].append(seconds(action))
median = {step: [statistics.median(part) for part in zip(*held, strict=True)] for step, held in times.items()}

print(
    f"{options.manifolds} manifolds of {options.points} points, {options.neurons} neurons, {options.draws} directions, "
    f"10 restarts; load {os.getloadavg()[0]:.1f}; medians of {options.rounds}"
)
print(f"  control variates: the error of {options.draws} directions with {fewer} (variance / {gain:.1f})")


def described(name: str, capacity: float, radius: float, dimension: float, removed: int) -> None:
    """One line."""
    print(f"  {name:<16} capacity {capacity:.4f}, radius {radius:.4f}, dimension {dimension:.3f}, {removed} removed")


for name, found in (
    ("ours", controlled),
    ("its definitions", manifold_geometry(clouds, n_t=options.draws, variant="follow_up")),
):
    described(name, found.mean_capacity, found.mean_radius, found.mean_dimension, found.n_removed)
theirs = None
if options.published:
    np.random.seed(0)
    results: list[tuple[np.ndarray, ...]] = []
    theirs = seconds(lambda: results.append(manifold_analysis_corr(clouds, 0, options.draws, n_reps=10)))
    capacity, radius, dimension, _, removed = results[0]
    described("published", 1 / np.mean(1 / capacity), radius.mean(), dimension.mean(), removed)
    print(f"  {'published':<27} {theirs[0]:8.3f} s of the processor, {theirs[1]:8.3f} s")
for (name, solver), (processor, clock) in median.items():
    line = f"  {name:<16} {solver:<10} {processor:8.3f} s of the processor, {clock:8.3f} s"
    if theirs and name not in ("center subspace", "projections"):
        line += f"   the published code: {theirs[0] / processor:.0f}, {theirs[1] / clock:.0f} times as long"
        line += f" (wanted: {WANTED.get(solver, 1)})" if name == "end to end" else ""
    print(line)
if not theirs:
    print("  With --published FOLDER the published code runs beside ours.")
