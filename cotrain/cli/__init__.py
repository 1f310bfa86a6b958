"""The command line: `cotrain ...`. It imports the database only where one is asked for."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from cotrain import __version__
from cotrain.cli import _data as data
from cotrain.cli import _deltas as deltas
from cotrain.cli import _diff as diff
from cotrain.cli import _evaluate as evaluate
from cotrain.cli import _experiments as experiments
from cotrain.cli import _export as export
from cotrain.cli import _plot as plot
from cotrain.cli import _queries as queries
from cotrain.cli import _queue as queue
from cotrain.cli import _removal as removal
from cotrain.cli import _server as server
from cotrain.cli import _store as store
from cotrain.cli import _tags as tags
from cotrain.cli import _watch as watch
from cotrain.cli._commands import Command, Commands
from cotrain.errors import CotrainError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (failed) or 2 (usage)."""
    options = _parser().parse_args(arguments)
    # before torch is imported: its idle threads would spin, and halve the speed where processes share the cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(options.verbose, 2)]
    told = logging.StreamHandler()
    told.setLevel(level)  # a worker's log file takes more than the terminal
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", handlers=[told])
    command: Command = options.command
    try:
        status = command(options)
        sys.stdout.flush()  # a closed pipe is told here, not after the end
        return status
    except KeyboardInterrupt:
        print("cotrain: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if options.debug:
            raise
        if isinstance(error, CotrainError):
            print(f"cotrain: {error}", file=sys.stderr)
        else:
            print(f"cotrain: unexpected {type(error).__name__}: {error}\n(--debug shows where)", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cotrain",
        description="Co-train one network on pictures and on the brain.",
        epilog="First steps: cotrain check digits_v1; cotrain enqueue digits_v1; cotrain work; cotrain ls",
    )
    parser.add_argument("--version", action="version", version=f"cotrain {__version__}")
    commands = Commands(parser, "cotrain")
    for room in (
        experiments,
        queue,
        queries,
        diff,
        watch,
        export,
        removal,
        tags,
        evaluate,
        deltas,
        plot,
        store,
        data,
        server,
    ):
        room.add_commands(commands)
    return parser
