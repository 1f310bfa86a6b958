"""`watch`: runs as they go."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from cotrain.cli._commands import Commands
from cotrain.cli._connected import database
from cotrain.cli._selection import add_conditions, add_runs, conditions_of, selected
from cotrain.cli._text import duration

if TYPE_CHECKING:
    from cotrain.tables.progress import Frame, Progress

SECONDS = 2.0
HOME_AND_CLEAR = "\x1b[H\x1b[J"


def add_commands(commands: Commands) -> None:
    added = commands.add(
        "watch",
        watch,
        "show runs as they go, until all have ended; into a file, what has changed",
        "",
        "--recipe digits_v1",
        "co-trained --once",
    )
    add_runs(added)
    add_conditions(added)
    added.add_argument("--once", action="store_true", help="show them once, as they are now")


def watch(options: argparse.Namespace) -> int:
    conditions = conditions_of(options)
    on_terminal = sys.stdout.isatty() and not options.once
    with database():
        from cotrain.tables import progress, queries

        runs = selected(options, {**conditions, "status": []})
        if conditions["status"]:  # those that have the state now, whatever becomes of them
            from cotrain.tables.selection import only

            runs = queries.runs() & only(queries.states(selected(options, conditions)).index)
        before = ""
        while True:
            frame = progress.look(runs)
            text, rough = _text(frame), _text(frame, rough=True)
            if on_terminal:
                print(HOME_AND_CLEAR + text, flush=True)
            elif rough != before:
                print(text, flush=True)
            before = rough
            if options.once or frame.ended:
                return 0
            time.sleep(SECONDS)


def _text(frame: Frame, *, rough: bool = False) -> str:
    """One frame; `rough` leaves out what changes with each second."""
    counts = ", ".join(f"{count} {state}" for state, count in frame.states.items())
    lines = [_line(run, rough=rough) for run in sorted(frame.running, key=lambda run: (run.label, run.seed))]
    return "\n".join([counts or "No such runs. `cotrain enqueue RECIPE` makes some.", *lines])


def _line(run: Progress, *, rough: bool) -> str:
    epochs = "" if run.epochs is None else f" of {run.epochs}"
    parts = [f"{run.run[:8]}  {run.label}, seed {run.seed}: "]
    parts.append(f"epoch {run.epoch}{epochs}" if run.epoch >= 0 else "starting")
    parts += [f", {name} {value:.3f}" for name, value in run.scores.items()]
    if run.seconds is not None and not rough:
        parts.append(f", {run.seconds:.3g} s an epoch")
        if run.seconds_left is not None:
            parts.append(f", at most {duration(run.seconds_left)} left")
    return "".join([*parts, f", on {run.worker}" if run.worker else ""])
