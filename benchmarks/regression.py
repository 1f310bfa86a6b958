"""Neural regression beside scikit-learn: python benchmarks/regression.py [--rounds 3] [--only ridge ...]

Ridge with an alpha a neuron, 20 alphas, at three sizes; random projections; principal components; and the peak memory
of extraction beside keeping every layer's features. Both sides in turn in one process, one thread, medians of process
CPU times; memory by processes of their own. himalaya, whose cross-validation has five folds and a refit where the
others leave out single stimuli, is timed beside them where it is installed.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection
from threadpoolctl import threadpool_limits
from torch import nn

from cotrain.analysis import GaussianProjection, Pca, SparseProjection, extract, ridge

SIZES = ((119, 4096, 250), (2592, 1000, 168), (2592, 4096, 168))  # stimuli, features, neurons
ALPHAS = np.logspace(-1, 5, 20)
PIXELS = 224  # of the measurement of memory


def timed(rounds: int, actions: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median CPU seconds of each, in turn."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            started = time.process_time()
            action()
            times[name].append(time.process_time() - started)
    return {name: statistics.median(held) for name, held in times.items()}


def report(what: str, reference: str, medians: dict[str, float]) -> None:
    """One line a contender, with the reference's time over its own."""
    print(what)
    for name, seconds in medians.items():
        ratio = "" if name == reference else f"  {medians[reference] / seconds:5.1f} x"
        print(f"  {name:<36} {seconds:8.3f} s{ratio}", flush=True)


def measure_ridge(rounds: int) -> None:
    """Ridge at three sizes, and whether the chosen alphas are scikit-learn's."""
    for stimuli, features, neurons in SIZES:
        random = np.random.default_rng(0)
        x = np.maximum(random.normal(size=(stimuli, features)), 0)  # as after a ReLU
        y = x @ random.normal(size=(features, neurons))
        y += random.normal(size=y.shape) * y.std(0) * np.logspace(-1, 1, neurons)
        single = x.astype(np.float32), y.astype(np.float32)
        reference = RidgeCV(ALPHAS, alpha_per_target=True)
        actions: dict[str, Callable[[], Any]] = {
            "scikit-learn RidgeCV": lambda: reference.fit(x, y),  # noqa: B023
            "cotrain float64": lambda: ridge(x, y, ALPHAS),  # noqa: B023
            "cotrain float32": lambda: ridge(*single, ALPHAS),  # noqa: B023
        }
        if (himalaya := himalaya_ridge(*single)) is not None:
            actions["himalaya float32, five folds"] = himalaya
        ridge(x[:50, :20], y[:50], ALPHAS)  # libraries are loaded
        medians = timed(rounds if stimuli * features > 1e6 else 5 * rounds, actions)
        report(f"ridge, {stimuli} x {features} x {neurons}, {len(ALPHAS)} alphas", "scikit-learn RidgeCV", medians)
        double, half = ridge(x, y, ALPHAS), ridge(*single, ALPHAS)
        same = [np.mean(found.alphas == reference.alpha_) for found in (double, half)]
        off = np.abs(double.coefficients - reference.coef_.T).max() / np.abs(reference.coef_).max()
        print(f"  same alphas: float64 {same[0]:.1%}, float32 {same[1]:.1%}; coefficients differ by {off:.1e}")


def himalaya_ridge(x: Any, y: Any) -> Callable[[], Any] | None:
    """himalaya's own cross-validation, in the form that fits the shape; None where it is not installed."""
    try:
        from himalaya.backend import set_backend
        from himalaya.kernel_ridge import KernelRidgeCV
        from himalaya.ridge import RidgeCV as HimalayaRidge
    except ImportError:
        return None
    set_backend("torch")
    kind = KernelRidgeCV if len(x) < x.shape[1] else HimalayaRidge
    x, y = torch.from_numpy(x - x.mean(0)), torch.from_numpy(y - y.mean(0))
    return lambda: kind(alphas=ALPHAS, cv=5).fit(x, y)


def measure_projection(rounds: int) -> None:
    """A matrix and its product, as scikit-learn's fit and transform; on images in one batch and in small ones."""
    for features in (200_704, 802_816):
        values = torch.randn(119, features, generator=torch.Generator().manual_seed(0))
        array = values.numpy()

        def ours(batch: int, values: torch.Tensor = values, nonzeros: int = 4) -> None:
            take = SparseProjection(4096, nonzeros=nonzeros).taker((values.shape[1],), 119, layer="layer", seed=0)
            for part in values.split(batch):
                take(part)

        medians = timed(
            rounds,
            {
                "scikit-learn": lambda array=array: SparseRandomProjection(4096, random_state=0).fit_transform(array),
                "cotrain, one batch": lambda ours=ours: ours(119),
                "cotrain, batches of 32": lambda ours=ours: ours(32),
                "cotrain, one entry a feature": lambda ours=ours: ours(119, nonzeros=1),
            },
        )
        report(f"sparse projection, 119 x {features} -> 4096", "scikit-learn", medians)
    values = torch.randn(119, 25_088, generator=torch.Generator().manual_seed(0))
    array = values.numpy()
    medians = timed(
        rounds,
        {
            "scikit-learn": lambda: GaussianRandomProjection(1024, random_state=0).fit_transform(array),
            "cotrain": lambda: GaussianProjection(1024).taker((25_088,), 119, layer="layer", seed=0)(values),
        },
    )
    report("Gaussian projection, 119 x 25088 -> 1024", "scikit-learn", medians)


def measure_pca(rounds: int) -> None:
    """500 of 1000 components, where scikit-learn's default is a randomised approximation."""
    values = torch.randn(1000, 50_176, generator=torch.Generator().manual_seed(0))
    array = values.numpy()
    medians = timed(
        rounds,
        {"scikit-learn": lambda: PCA(500).fit_transform(array), "cotrain (exact)": lambda: Pca(500).finish(values)},
    )
    report("500 principal components of 1000 x 50176", "scikit-learn", medians)
    ours, theirs = Pca(500).finish(values).numpy(), PCA(500).fit_transform(array)
    share = theirs[:, -1].var() / ours[:, -1].var()
    print(f"  scikit-learn's 500th component has {share:.3f} of the variance of the exact one")


def extraction(reduce: SparseProjection | None, count: int, result: Any) -> None:
    """Peak memory beyond that of the images and the network, of all leaf layers of a ResNet-18."""
    from torchvision.models import resnet18

    torch.set_num_threads(1)
    network, images = resnet18(), torch.rand(count, 3, PIXELS, PIXELS)
    with torch.inference_mode():
        network.eval()(images[:2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    if reduce is None:
        keep_all(network, images)
    else:
        extract(network, images, "leaves", reduce=reduce, batch=16)
    result["seconds"] = time.process_time() - started
    result["kB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def keep_all(network: nn.Module, images: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """Every leaf's output for all images, as the pipelines do that this one succeeds; the same passes."""
    kept: dict[str, list[torch.Tensor]] = {}

    def keep(name: str, output: torch.Tensor) -> None:
        kept.setdefault(name, []).append(output.flatten(1).clone())

    for name, module in network.named_modules():
        if next(module.children(), None) is None:
            module.register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
    with torch.inference_mode():
        for part in images.split(16):
            network(part)
    return kept


def measure_memory(images: int) -> None:
    """Each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, dict[str, float]] = {}
    for name, reduce in (("keep all", None), ("sparse projection in the hook", SparseProjection(4096))):
        with context.Manager() as manager:
            result = manager.dict()
            process = context.Process(target=extraction, args=(reduce, images, result))
            process.start()
            process.join()
            found[name] = dict(result)
    print(
        f"extraction of all leaves of ResNet-18, {images} images of {PIXELS} x {PIXELS}: peak memory beyond the start"
    )
    for name, held in found.items():
        share = held["kB"] / found["keep all"]["kB"]
        print(f"  {name:<36} {held['kB'] / 1e6:6.2f} GB ({share:.1%}), {held['seconds']:.1f} s")


MEASUREMENTS = {"ridge": measure_ridge, "projection": measure_projection, "pca": measure_pca}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--images", type=int, default=119, help="whose memory is measured; keeping all takes 30 MB each"
    )
    parser.add_argument("--only", nargs="+", choices=[*MEASUREMENTS, "memory"], default=[*MEASUREMENTS, "memory"])
    options = parser.parse_args()
    logging.getLogger("cotrain").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    threadpool_limits(1)
    print(f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}, {options.rounds} rounds")
    for name in options.only:
        if name == "memory":
            measure_memory(options.images)
        else:
            MEASUREMENTS[name](options.rounds)
