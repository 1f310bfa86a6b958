"""Which code, in which environment."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import cotrain
from cotrain.config import content_key
from cotrain.tables.runs import Provenance


def record_provenance() -> dict[str, str]:
    """Store the code and environment of this process unless they are there; their primary key."""
    row = capture()
    key = {"provenance_key": content_key("cotrain-provenance/1", row)}
    Provenance.insert1({**key, **row, "changes": row["changes"] or None}, skip_duplicates=True)
    return key


def capture() -> dict[str, Any]:
    """Versions, repositories with their commits, and uncommitted changes of this process."""
    folders = {str(top) for place in (Path(cotrain.__file__).parent, Path.cwd()) if (top := _repository(place))}
    repositories, changes = {}, {}
    for folder in sorted(folders):
        patch = _git(folder, "diff", "HEAD")
        untracked = _git(folder, "ls-files", "--others", "--exclude-standard")
        repositories[folder] = {"commit": _git(folder, "rev-parse", "HEAD").strip(), "dirty": bool(patch or untracked)}
        if patch:
            changes[folder] = patch
    names = ((found.metadata["Name"], found.version) for found in distributions())
    return {
        "cotrain_version": cotrain.__version__,
        "python_version": platform.python_version(),
        "platform": platform.platform()[:128],
        "image": os.environ.get("COTRAIN_IMAGE", ""),
        "packages": dict(sorted((name, version) for name, version in names if name)),
        "environment": _hardware(),
        "repositories": repositories,
        "changes": changes,
    }


def _hardware() -> dict[str, Any]:
    """What torch computes on, and how."""
    import torch

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
        "cudnn": torch.backends.cudnn.version() if gpus else None,
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _repository(place: Path) -> str:
    return _git(str(place), "rev-parse", "--show-toplevel").strip()


def _git(folder: str, *arguments: str) -> str:
    """What git says, or nothing where there is no git or no repository."""
    try:
        found = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, errors="replace")
    except OSError:
        return ""
    return found.stdout if found.returncode == 0 else ""
