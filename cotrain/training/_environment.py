"""What a run was trained on: versions, device, threads, switches."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
PACKAGES = ("cotrain", "torch", "torchvision", "numpy", "scipy", "scikit-learn")
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", WORKSPACE, "COTRAIN_IMAGE")


def environment(device: torch.device) -> dict[str, Any]:
    """Plain values that say where a run is trained, for its folder."""
    gpu = device.type == "cuda"
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if gpu else platform.processor() or platform.machine(),
        "device_type": device.type,
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


@contextmanager
def algorithms(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Within, torch takes algorithms that repeat bit for bit, or (on a GPU) those that it finds fastest.

    An operation that has no deterministic form raises torch's RuntimeError, which names it.
    """
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, cudnn.deterministic
    if deterministic:
        os.environ.setdefault(WORKSPACE, ":4096:8")  # read when the GPU's library is first used
        torch.use_deterministic_algorithms(True)
        cudnn.benchmark, cudnn.deterministic = False, True
    elif device.type == "cuda":
        cudnn.benchmark = True  # batches have one shape, so the search is made once
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.benchmark, cudnn.deterministic = before[1:]
