"""Ranks as processes of this machine, which one process starts, listens to and ends: it alone talks to the sinks.

Each is started as torchrun would (`cotrain.training._rank_process`), and has a channel to this process: over it come
what the first one tells its sinks, which are called here, and what it failed with.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import TCPStore

from cotrain.errors import CotrainError, LostRankError, TrainingError
from cotrain.recipe import Experiment
from cotrain.training._checkpoint import RunFolder
from cotrain.training._sinks import ScoreSink
from cotrain.training._stopping import StopRequest, stop_requests

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # in which the others may notice that one has ended, and say what went wrong
LOOK_SECONDS = 0.2
LOOPBACK = "lo"


class Rank:
    """One process and its channel."""

    def __init__(self, rank: int, process: subprocess.Popen[bytes], channel: Connection) -> None:
        self.rank, self.process, self.channel = rank, process, channel
        self.error: BaseException | None = None
        self.listening = True


def run_on_ranks(
    experiment: Experiment, ranks: int, out: Path, *, resume: bool, sinks: Sequence[ScoreSink], progress: bool
) -> None:
    """Run an experiment on so many processes of this machine, to its end.

    Args:
        experiment, out, resume, progress: As in `cotrain.run`.
        ranks: 2 or more.
        sinks: Called here, in this thread.

    Raises:
        CotrainError: What a rank raised, or which one ended and where training goes on.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came, here or to a rank; a checkpoint holds all up to then.
    """
    job = {"experiment": experiment.to_yaml(), "out": str(out.absolute()), "resume": resume, "progress": progress}
    with stop_requests(several=True) as stop, _started(ranks) as held, ExitStack() as ends:
        for rank in held:
            rank.channel.send({**job, "level": log.getEffectiveLevel() if rank.rank == 0 else logging.ERROR})
        _listen(held, stop, sinks, ends)
        if not stop:  # else the end of its context obeys it
            _require_finished(held, RunFolder(out))


def _listen(held: Sequence[Rank], stop: StopRequest, sinks: Sequence[ScoreSink], ends: ExitStack) -> None:
    """Until all have ended: call the sinks, pass on signals, end the others when one has ended early."""
    passed_on, deadline = False, None
    while any(rank.listening or rank.process.poll() is None for rank in held):
        by_channel = {rank.channel: rank for rank in held if rank.listening}
        if by_channel:
            for channel in wait([*by_channel], LOOK_SECONDS):
                _hear(by_channel[channel], sinks, ends)  # type: ignore[index]
        else:
            time.sleep(LOOK_SECONDS)
        if stop and not passed_on:
            passed_on = True
            for rank in held:
                if rank.process.poll() is None:
                    rank.process.terminate()
        codes = [rank.process.poll() for rank in held]
        if deadline is None and any(codes) and None in codes:
            deadline = time.monotonic() + GRACE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            for rank in held:
                rank.process.kill()


def _hear(rank: Rank, sinks: Sequence[ScoreSink], ends: ExitStack) -> None:
    """One message of a rank: an event of the sinks, which is answered, or what it failed with."""
    try:
        what, *values = rank.channel.recv()
    except (EOFError, OSError):
        rank.listening = False
        return
    if what == "failed":
        (rank.error,) = values
        return
    if what == "start":
        for sink in sinks:
            ends.callback(sink.close)
    for sink in sinks:
        getattr(sink, what)(*values)
    rank.channel.send(None)


def _require_finished(held: Sequence[Rank], folder: RunFolder) -> None:
    """Raise what the ranks ended with, the cause before its consequences."""
    codes = [rank.process.returncode for rank in held]
    if not any(codes):
        return
    errors = [rank.error for rank in held if rank.error is not None and not isinstance(rank.error, LostRankError)]
    if errors:
        raise errors[0]
    for number, stopped in ((signal.SIGTERM, SystemExit(143)), (signal.SIGINT, KeyboardInterrupt())):
        if set(codes) == {128 + number}:  # a rank was sent the signal itself, and all agreed to stop
            raise stopped
    # whoever says that another is lost has not ended first
    first = next((rank for rank in held if rank.process.returncode and rank.error is None), held[0])
    code = first.process.returncode
    how = f"status {code}" if code >= 0 else f"signal {-code}, {signal.Signals(-code).name}"
    step = folder.last_step()
    where = "it begins again, as no checkpoint was written" if step is None else f"it goes on from that of step {step}"
    raise LostRankError(
        f"Rank {first.rank} of {len(held)} ended ({how}), and training with it. Checkpoints are kept. Start the same "
        f"command again: {where}."
    )


@contextmanager
def _started(ranks: int) -> Iterator[list[Rank]]:
    """The processes; none is left in the end, nor when this process is killed."""
    # this process holds the place where they find each other: no port is named that another may take meanwhile
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    lifeline, held_open = os.pipe()  # it ends with this process
    held: list[Rank] = []
    try:
        for rank in range(ranks):
            here, there = Pipe()
            command = [sys.executable, "-P", "-m", "cotrain.training._rank_process"]
            process = subprocess.Popen(
                [*command, str(there.fileno()), str(lifeline)],
                env=_environment(rank, ranks, store.port),
                pass_fds=(there.fileno(), lifeline),
                start_new_session=True,  # Ctrl-C is for this process, which passes it on once
            )
            there.close()
            held.append(Rank(rank, process, here))
        yield held
    finally:
        for started in held:
            started.process.kill()
        for started in held:
            started.process.wait()
            started.channel.close()
        os.close(lifeline)
        os.close(held_open)
        del store


def _environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """As torchrun's, with all folders from which this process imports."""
    variables = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
    variables.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    if Path("/sys/class/net", LOOPBACK).exists():  # a name of this machine that leads nowhere is no obstacle
        variables.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
    return variables


def reported(error: BaseException, rank: int) -> Any:
    """What a rank tells of its failure: a deliberate error as it is, another one in words."""
    if isinstance(error, CotrainError):
        return error
    return TrainingError(f"Rank {rank} failed: {type(error).__name__}: {error}")
