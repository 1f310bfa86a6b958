"""`run --exact`: a run of the database again, in the environment that it was trained in, or with what differs named."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cotrain.cli._connected import database
from cotrain.errors import RecipeError, RunFolderError
from cotrain.settings import home_folder


def add_exact(added: argparse.ArgumentParser) -> None:
    said = "RECIPE is a finished run of the database (key or label): say what differs here, train it again, compare"
    added.add_argument("--exact", action="store_true", help=said)
    added.add_argument("--check-only", action="store_true", help="with --exact: say what differs, and train nothing")


def run_exact(options: argparse.Namespace) -> int:
    """Status 0: bit-equal (with `--check-only`: nothing differs that may change a number); else 1."""
    if not options.exact:
        raise RecipeError("--check-only belongs to --exact; `cotrain check RECIPE` tries a recipe.")
    if options.only or options.restart:
        raise RecipeError("--exact takes one run of the database, and trains it anew: leave out --only and --restart.")
    from cotrain import training

    runs = home_folder() / "runs"
    with database():
        from cotrain.tables import exact
        from cotrain.tables.queries import find_run
        from cotrain.tables.runs import Run

        key = find_run(options.recipe)
        row, experiment = exact.origin(key), Run.load(key)
        folder = options.out or _free(runs, key["run_key"])
        if folder.resolve() == (runs / key["run_key"]).resolve():
            raise RunFolderError(f"{folder} may be the run itself, which would be compared with itself. Name another.")
        where = f"{row['host']} ({row['device']})"
        print(f"{key['run_key']}: attempt {row['attempt']} finished it on {where}: {row['command']}")
        if others := exact.other_attempts(key, row):
            print(f"Attempts with other code or environment trained some of its epochs: {others} (`cotrain show`).")
        patches = None if options.check_only and options.out is None else folder
        found = exact.differences(key, row, runs=runs, patches=patches, ranks=options.ranks or 1)
        serious = [difference for difference in found if difference.matters < exact.Matters.REST]
        _print(found, len(serious))
    if options.check_only:
        return 1 if serious else 0
    held = training.RunFolder(folder).result.is_file()  # the database was away when it should have been compared
    print(f"{folder} holds it, finished" if held else f"Training it again in {folder}", flush=True)
    # the database may be away while training goes on
    result = training.run(experiment, out=folder, progress=sys.stderr.isatty(), ranks=options.ranks or 1)
    with database():
        again = exact.compare(key, result.scores)
    if again.equal:
        print(f"All {again.compared} scores are equal to the stored ones, bit for bit.")
        return 0
    if again.different:
        epoch, task, session, split, metric = again.where
        where = " ".join(word for word in (task, session, split, metric) if word)
        print(
            f"{again.different} of {again.compared} scores differ; the largest difference is {again.largest:.3g}, of "
            f"{where} in epoch {epoch}."
        )
    if again.missing:
        print(f"{len(again.missing)} scores are there only once; the first: {again.missing[0]}.")
    return 1


def _print(found: Sequence[object], serious: int) -> None:
    if not serious:
        print("Nothing differs here that may change a number.")
    else:
        print("What differs here and may change a number, what matters most first:")
    for place, difference in enumerate(found):
        if place == serious:
            print("What differs besides:")
        print(f"  {difference}")


def _free(runs: Path, key: str) -> Path:
    """The first folder for a repetition that is not there yet."""
    number = 1
    while (folder := runs / f"exact-{key[:8]}-{number}").exists():
        number += 1
    return folder
