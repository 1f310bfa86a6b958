"""The command line: `cotrain ...`. It imports the database only where one is asked for."""

from __future__ import annotations

import argparse
import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cotrain import __version__
from cotrain.cli import _data as data
from cotrain.cli import _database as database
from cotrain.cli import _experiments as experiments
from cotrain.errors import CotrainError

RECIPE_HELP = "a recipe: a file (recipes/digits_v1.py), a module, or a shipped name (digits_v1)"

RANKS_HELP = "processes of this machine that share each batch, each on a GPU of its own where there are any (default 1)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (failed) or 2 (usage)."""
    options = _parser().parse_args(arguments)
    # before torch is imported: its idle threads would spin, and halve the speed where processes share the cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(options.verbose, 2)]
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    command: Callable[[argparse.Namespace], int] = options.command
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
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    common.add_argument("-v", "--verbose", action="count", default=0, help="tell more; twice: everything")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    add = functools.partial(_add, commands, common, "cotrain")

    def add_selection(added: argparse.ArgumentParser) -> None:
        added.add_argument("recipe", help=f"{RECIPE_HELP}; or one experiment's .yaml")
        added.add_argument("--only", action="append", metavar="LABEL", help="only this experiment; repeatable")

    run = add(
        "run", experiments.run, "train a recipe's experiments here, without a database", "digits_v1 --only co-trained"
    )
    add_selection(run)
    run.add_argument("--out", type=Path, help="folder of the runs (default: runs/ in the home folder)")
    run.add_argument("--ranks", type=int, metavar="N", help=RANKS_HELP)
    run.add_argument("--restart", action="store_true", help="train anew instead of going on where it stopped")

    check = add(
        "check", experiments.check, "build everything, try one batch a task, say what would be trained", "digits_v1"
    )
    add_selection(check)

    bench = add(
        "bench",
        experiments.bench,
        "train some steps, say how fast, where the time goes and what limits it",
        "hvm_v4 --only co-trained",
        "vgg_v1 --only co-trained --steps 100 --json",
    )
    add_selection(bench)
    bench.add_argument("--steps", type=_positive, default=30, metavar="N", help="optimiser steps to time (default 30)")
    bench.add_argument("--json", action="store_true", help="as JSON, one line an experiment")

    find = add(
        "find-lr",
        experiments.find_lr,
        "try learning rates from low to high for some steps, and say where the loss falls most steeply",
        "digits_v1 --only co-trained --out rates.png",
    )
    add_selection(find)
    find.add_argument("--from", dest="lowest", type=float, default=1e-6, metavar="RATE", help="default 1e-6")
    find.add_argument("--to", dest="highest", type=float, default=1.0, metavar="RATE", help="default 1")
    find.add_argument("--steps", type=int, default=100, help="optimiser steps of the sweep (default 100)")
    find.add_argument("--out", type=Path, help="draw loss over learning rate into this PNG file (of one experiment)")

    key = add("key", experiments.key, "print the keys of a recipe's experiments", "digits_v1")
    add_selection(key)
    key.add_argument("--yaml", action="store_true", help="print each experiment as YAML as well")

    show = add("show", database.show, "show a run, a builder's config, or what a room offers", "models", "a2493a00")
    show.add_argument("what", help="key (or its beginning) or label of a run; a room (data, models, losses, training)")

    enqueue = add(
        "enqueue", database.enqueue, "put a recipe's runs into the database and the queue", "digits_v1 --priority 1"
    )
    enqueue.add_argument("recipe", help=RECIPE_HELP)
    enqueue.add_argument("--priority", type=int, default=5, help="0 to 127, smaller ones are taken first (default 5)")

    work = add(
        "work", database.work, "train runs from the queue until it is empty", "", "--recipe digits_v1 --max-runs 1"
    )
    work.add_argument("--recipe", help="take only runs of this recipe")
    work.add_argument("--ranks", type=int, metavar="N", help=RANKS_HELP)
    work.add_argument("--max-runs", type=int, metavar="N", help="stop after N runs")

    ls = add(
        "ls", database.ls, "list runs, how far they are and what they scored", "--recipe digits_v1", "--where lr=1e-3"
    )
    ls.add_argument("--recipe", help="only runs of this recipe")
    only = "only runs with this config value; repeatable"
    ls.add_argument("--where", action="append", default=[], metavar="PATH=VALUE", help=only)
    ls.add_argument("--csv", action="store_true", help="as comma-separated values, with whole keys")

    report = add(
        "report",
        database.report,
        "print a recipe's test scores and draw its curves and RDMs",
        "digits_v1 --out digits_v1.png",
        'hvm_v4_weighting --baseline "V4 only"',
    )
    report.add_argument("recipe", help="name of a recipe in the database")
    report.add_argument("--out", type=Path, help="draw a picture into this PNG file")
    baseline = "also print how each experiment differs from this one, seed by seed"
    report.add_argument("--baseline", metavar="LABEL", help=baseline)

    data_parser = _add(
        commands,
        argparse.ArgumentParser(add_help=False),  # what stood before the second command would be lost
        "cotrain",
        "data",
        data.list_sets,
        "look at data files, convert recordings, fetch public sets",
        "inspect session42.npz",
        "fetch cifar10",
    )
    _add_data_commands(data_parser, common)

    server = add("db", database.db, "start, stop or look at the embedded database", "start", "status")
    server.add_argument("action", choices=("start", "stop", "status"))
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return int(text)


def _add(
    commands: Any,
    common: argparse.ArgumentParser,
    program: str,
    name: str,
    command: Callable[[argparse.Namespace], int],
    text: str,
    *more: str,
) -> argparse.ArgumentParser:
    """A command with its help: `text`, and `more` as examples of what follows its name."""
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        parents=[common],
        help=text,
        description=text[:1].upper() + text[1:] + ".",
        epilog="\n".join(["examples:", *(f"  {program} {name} {example}" for example in more)]) if more else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(command=command)
    return added


FORMATS = ("cadena2024", "cadieu2014", "cotrain", "cowley2023", "majaj2015", "sinz_pickles")
"""Those of `cotrain.data.recordings`, named here so that `--help` needs no torch."""


def _add_data_commands(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add = functools.partial(_add, commands, common, "cotrain data")

    def add_source(added: argparse.ArgumentParser) -> None:
        text = "a file or folder, from here or else from the data folder"
        added.add_argument("path", type=Path, help=text)
        added.add_argument("--format", choices=FORMATS, help="format of a recording (default: found out)")

    inspect = add(
        "inspect",
        data.inspect,
        "show shapes, counts, copies and reliability of a recording, an NPZ file or a folder of pictures",
        "session42.npz --out session42.png",
        "cowley_v4",
    )
    add_source(inspect)
    inspect.add_argument("--out", type=Path, help="draw a contact sheet and histograms into this PNG file")
    near = "bits, of 256, by which average hashes of near copies differ at most (default 8)"
    inspect.add_argument("--near", type=int, default=8, metavar="BITS", help=near)

    convert = add(
        "convert",
        data.convert,
        "write a recording in the open format (docs/recording_format.md), once for all readers",
        "lab_pickles v4_sessions --window-ms 70 160",
    )
    add_source(convert)
    convert.add_argument("out", type=Path, help="folder that is made")
    convert.add_argument("--session", action="append", metavar="NAME", help="only this session; repeatable")
    window = "responses are summed from and to this time after onset, where the files hold time bins"
    convert.add_argument("--window-ms", type=float, nargs=2, metavar=("FROM", "TO"), help=window)

    fetch = add(
        "fetch",
        data.fetch,
        "download a public data set into the data folder; an interrupted download goes on",
        "cifar10",
        "cadena2024_v4 --yes",
    )
    fetch.add_argument("name", help="one of those that `cotrain data list` names")
    fetch.add_argument("--yes", action="store_true", help="accept its terms, which are shown")

    add("list", data.list_sets, "list the public data sets that can be fetched")
