"""One of the processes that `cotrain.run(..., ranks=N)` starts: `python -m cotrain.training._rank_process`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from cotrain.errors import LostRankError
from cotrain.recipe import Experiment
from cotrain.training._ranks import from_environment, ranks_here
from cotrain.training._run import run_as
from cotrain.training._sinks import Score, ScoreSink
from cotrain.training._spawned import reported


class ChannelSink(ScoreSink):
    """Has the sinks of the process that started this one called, and waits until they were."""

    def __init__(self, channel: Connection) -> None:
        self.channel = channel

    def start(self, history: Sequence[Score], resumed_epoch: int | None) -> None:
        """Passed on."""
        self._tell("start", list(history), resumed_epoch)

    def epoch(self, epoch: int, scores: Sequence[Score], seconds: float) -> None:
        """Passed on."""
        self._tell("epoch", epoch, list(scores), seconds)

    def finish(self, best_epoch: int, scores: Sequence[Score]) -> None:
        """Passed on."""
        self._tell("finish", best_epoch, list(scores))

    def _tell(self, *event: Any) -> None:
        try:
            self.channel.send(event)
            self.channel.recv()
        except (EOFError, OSError):
            raise LostRankError(
                "The process that started the ranks ended; training stops. Start the same command again: it goes on "
                "from the last checkpoint."
            ) from None


def main() -> int:
    """Run what the channel says; the exit status is 0, 1 (failed), 130 or 143 (stopped)."""
    channel, lifeline = Connection(int(sys.argv[1])), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    job = channel.recv()
    logging.basicConfig(level=job["level"], format="%(levelname)s %(name)s: %(message)s")
    ranks = from_environment()
    sinks = [ChannelSink(channel)] if ranks.first else []
    try:
        experiment = Experiment.from_yaml(job["experiment"])
        with ranks_here() as here:
            run_as(here, experiment, Path(job["out"]), resume=job["resume"], sinks=sinks, progress=job["progress"])
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        logging.getLogger(__name__).debug("Rank %d failed.", ranks.rank, exc_info=True)
        channel.send(("failed", reported(error, ranks.rank)))
        return 1
    return 0


def _end_with(lifeline: int) -> None:
    """Stop in order when the process that holds the other end of a pipe has ended."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(status: int) -> NoReturn:
    """End at once: the teardown of threads of Python and of torch may abort a process that has done all."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    try:
        status = main()
    except SystemExit as stop:  # 143, on SIGTERM
        if not isinstance(stop.code, int):
            raise
        status = stop.code
    _leave(status)
