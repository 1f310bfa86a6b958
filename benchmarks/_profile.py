"""What torch's profiler saw of the trainer's steps: waits of the host for a GPU, and how long the GPU computed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from cotrain.data import Batch, MixingLoader

MARK = "cotrain steps"
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


class Profile(NamedTuple):
    """Of an epoch's steps.

    Args:
        seconds: From the first step's beginning to the last one's end, on the host and on the device.
        waits: How often the host waited for the device, or the device copied to the host.
        busy: Share of the time in which at least one kernel ran.
    """

    seconds: float
    waits: int
    busy: float


def profiled_steps(train: Callable[[], Any], *, epoch: int) -> Profile:
    """What `train` does in the steps of one epoch, without the epoch's end."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profiler = torch.profiler.profile(activities=activities)
    with marked(profiler, epoch):
        train()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        return read(json.loads(file.read_text(encoding="utf-8"))["traceEvents"])


@contextmanager
def marked(profiler: torch.profiler.profile, epoch: int) -> Iterator[None]:
    """Profile one epoch of every loader that is gone through within, and mark its steps in the trace."""
    whole = MixingLoader.__iter__

    def batches(loader: MixingLoader) -> Iterator[Batch]:
        if loader.epoch != epoch:
            yield from whole(loader)
            return
        profiler.start()
        with torch.profiler.record_function(MARK):
            yield from whole(loader)  # the trainer's step is done when it asks for the next batch
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # outside of the mark: what the device has still to do is of these steps
        profiler.stop()

    MixingLoader.__iter__ = batches  # type: ignore[method-assign]
    try:
        yield
    finally:
        MixingLoader.__iter__ = whole  # type: ignore[method-assign]


def read(events: Sequence[dict[str, Any]]) -> Profile:
    """From the events of a trace in Chrome's format, times in microseconds.

    >>> def event(cat, name, ts, dur): return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur}
    >>> read([
    ...     event("user_annotation", "cotrain steps", 100, 100),
    ...     event("cuda_runtime", "cudaStreamSynchronize", 50, 10),
    ...     event("cuda_runtime", "cudaDeviceSynchronize", 150, 5),
    ...     event("gpu_memcpy", "Memcpy DtoH (Device -> Pageable)", 155, 1),
    ...     event("kernel", "a", 110, 50), event("kernel", "b", 120, 30), event("kernel", "late", 250, 50),
    ... ])
    Profile(seconds=0.0002, waits=1, busy=0.5)
    """
    spans = [event for event in events if event.get("ph") == "X"]
    mark = next(event for event in spans if event["name"] == MARK and event.get("cat") == "user_annotation")
    start, end = mark["ts"], mark["ts"] + mark["dur"]
    calls = [event for event in spans if event.get("cat") in ("cuda_runtime", "cuda_driver")]
    waits = sum(event["name"] in WAITS and start <= event["ts"] < end for event in calls)
    copies = sum(event.get("cat") == "gpu_memcpy" and "DtoH" in event["name"] for event in spans)
    # a copy to the host is one wait, whether or not the trace also has the call that waits for it
    number = max(waits, copies)
    kernels = sorted((event["ts"], event["ts"] + event["dur"]) for event in spans if event.get("cat") == "kernel")
    busy, reached = 0.0, start
    for began, done in kernels:
        busy += max(0.0, done - max(began, reached))
        reached = max(reached, done)
    whole = max(end, reached) - start
    return Profile(whole / 1e6, number, busy / whole)
