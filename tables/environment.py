"""Where a process computes, and what of it can change the last bits of a number."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Any

from cotrain.tables.masking import masked

# that change what is computed, or how it is rounded
VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_DYNAMIC", "MKL_DYNAMIC", "MKL_CBWR"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "MKL_ENABLE_INSTRUCTIONS"),
    *("CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
    *("TORCH_BLAS_PREFER_CUBLASLT", "CUDNN_DETERMINISTIC", "TORCHINDUCTOR_MAX_AUTOTUNE", "PYTHONHASHSEED"),
    "COTRAIN_BUILDERS",
)
IMAGES = ("COTRAIN_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")


def environment() -> dict[str, Any]:
    """Plain values: hardware, its drivers, the flags of torch, and environment variables.

    The flags are those that the process has; within training, the trainer's config sets `deterministic` and
    `cudnn_benchmark`.
    """
    import torch

    cudnn = torch.backends.cudnn
    return {
        **_hardware(),
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_tf32": cudnn.allow_tf32,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": cudnn.deterministic,
        "cudnn_benchmark": cudnn.benchmark,
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "variables": {name: masked(os.environ[name]) for name in VARIABLES if name in os.environ},
    }


def container_image() -> str:
    """The image that the process runs in, with its digest where whoever started it told; else empty."""
    return masked(next((os.environ[name] for name in IMAGES if os.environ.get(name)), ""))[:255]


@functools.cache  # what is imported stays as it was, whatever is installed meanwhile
def packages() -> dict[str, str]:
    """{distribution: version} of all that is installed."""
    names = ((found.metadata["Name"], found.version) for found in distributions())
    return dict(sorted((name, version) for name, version in names if name))


@functools.cache
def installation() -> dict[str, str]:
    """What a cotrain is that lies in no repository: where its wheel came from, and the hash of its list of files."""
    try:
        found = distribution("cotrain")
    except PackageNotFoundError:
        return {}
    record, url = found.read_text("RECORD"), found.read_text("direct_url.json")
    said = {"version": found.version}
    if record:
        said["record_sha256"] = hashlib.sha256(record.encode()).hexdigest()
    if url:
        said["direct_url"] = masked(url.strip())
    return said


@functools.cache
def _hardware() -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "gpus": gpus,
        "driver": _driver() if gpus else None,
        "cuda": torch.version.cuda if gpus else None,
        "cudnn": torch.backends.cudnn.version() if gpus else None,
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _driver() -> str | None:
    """Version of NVIDIA's driver."""
    try:
        told = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
        if found := re.search(r"Kernel Module.*?\s(\d+\.\d+[.\d]*)", told):
            return found[1]
    except OSError:
        pass
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split("\n")[0].strip() or None


def _cpu() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        told = ""
    found = re.search(r"^model name\s*:\s*(.*)$", told, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
