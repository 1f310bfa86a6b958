"""The command line: `cotrain ...`. It imports the database only where one is asked for."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain import __version__
from cotrain.errors import ConfigError, CotrainError, RecipeError
from cotrain.recipe import Experiment, find_recipe
from cotrain.settings import home_folder

if TYPE_CHECKING:
    import pandas as pd

RECIPE_HELP = "a recipe: a file (recipes/digits_v1.py), a module, or a shipped name (digits_v1)"


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

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str, *more: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            parents=[common],
            help=text,
            description=text[:1].upper() + text[1:] + ".",
            epilog="\n".join(["examples:", *(f"  cotrain {name} {example}" for example in more)]) if more else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command)
        return added

    def add_selection(added: argparse.ArgumentParser) -> None:
        added.add_argument("recipe", help=f"{RECIPE_HELP}; or one experiment's .yaml")
        added.add_argument("--only", action="append", metavar="LABEL", help="only this experiment; repeatable")

    run = add("run", _run, "train a recipe's experiments here, without a database", "digits_v1 --only co-trained")
    add_selection(run)
    run.add_argument("--out", type=Path, help="folder of the runs (default: runs/ in the home folder)")
    run.add_argument("--restart", action="store_true", help="train anew instead of going on where it stopped")

    check = add("check", _check, "build everything, try one batch a task, say what would be trained", "digits_v1")
    add_selection(check)

    key = add("key", _key, "print the keys of a recipe's experiments", "digits_v1")
    add_selection(key)
    key.add_argument("--yaml", action="store_true", help="print each experiment as YAML as well")

    show = add("show", _show, "show a run, a builder's config, or what a room offers", "models", "a2493a00")
    show.add_argument("what", help="key (or its beginning) or label of a run; a room (data, models, losses, training)")

    enqueue = add("enqueue", _enqueue, "put a recipe's runs into the database and the queue", "digits_v1 --priority 1")
    enqueue.add_argument("recipe", help=RECIPE_HELP)
    enqueue.add_argument("--priority", type=int, default=5, help="0 to 127, smaller ones are taken first (default 5)")

    work = add("work", _work, "train runs from the queue until it is empty", "", "--recipe digits_v1 --max-runs 1")
    work.add_argument("--recipe", help="take only runs of this recipe")
    work.add_argument("--max-runs", type=int, metavar="N", help="stop after N runs")

    ls = add("ls", _ls, "list runs, how far they are and what they scored", "--recipe digits_v1", "--where lr=1e-3")
    ls.add_argument("--recipe", help="only runs of this recipe")
    only = "only runs with this config value; repeatable"
    ls.add_argument("--where", action="append", default=[], metavar="PATH=VALUE", help=only)
    ls.add_argument("--csv", action="store_true", help="as comma-separated values, with whole keys")

    report = add("report", _report, "print a recipe's test scores and draw its curves and RDMs", "digits_v1")
    report.add_argument("recipe", help="name of a recipe in the database")
    report.add_argument("--out", type=Path, help="draw a picture into this PNG file")

    database = add("db", _db, "start, stop or look at the embedded database", "start", "status")
    database.add_argument("action", choices=("start", "stop", "status"))
    return parser


def _selected(options: argparse.Namespace) -> list[Experiment]:
    target = options.recipe
    if target.endswith((".yaml", ".yml")):
        path = Path(target)
        if not path.is_file():
            raise RecipeError(f"There is no file {path} (looked from {Path.cwd()}).")
        try:
            experiments = [Experiment.from_yaml(path.read_text(encoding="utf-8"))]
        except UnicodeDecodeError as error:
            raise RecipeError(f"{path} is no UTF-8 text: {error}.") from None
    else:
        experiments = list(find_recipe(target)().expand())
    if options.only:
        labels = [experiment.label for experiment in experiments]
        for label in options.only:
            if label not in labels:
                raise RecipeError(f"{target} has no experiment {label!r}; it has: {', '.join(dict.fromkeys(labels))}.")
        experiments = [experiment for experiment in experiments if experiment.label in options.only]
    return experiments


def _run(options: argparse.Namespace) -> int:
    from cotrain.training import run

    for experiment in _selected(options):
        folder = (options.out or home_folder() / "runs") / experiment.key()
        print(f"{experiment.label}, seed {experiment.seed}: {folder}")
        result = run(experiment, out=folder, resume=not options.restart, progress=sys.stderr.isatty())
        scores = result.scores[result.scores.split == "test"]
        print(f"test scores of epoch {result.best_epoch}, which validation chose:")
        print(_table(scores[["task", "session", "metric", "value"]]))
    return 0


def _check(options: argparse.Namespace) -> int:
    from cotrain.training import check

    seconds = 0.0
    for experiment in _selected(options):
        found = check(experiment)
        print(f"{experiment.label}, seed {experiment.seed}  (key {experiment.key()})")
        print(f"  {found.parameters:,} parameters on {found.device}, {found.epochs} epochs")
        for task in found.tasks:
            info = found.info.tasks[task.name]
            stimuli = sum(session.stimuli["train"] for session in info.sessions.values())
            neurons = sum(session.neurons for session in info.sessions.values())
            what = {
                "classification": f"{len(info.class_names)} classes",
                "neural": f"{neurons} neurons in {len(info.sessions)} session(s)",
                "rdm": "RDM",
            }[info.kind]
            print(
                f"  {task.name}: {info.kind}, {what}, {stimuli} training images {info.image_shape}, tap {task.tap}; "
                f"{task.batches} batches of {task.batch} an epoch, first loss {task.loss:.3f}"
            )
        print(f"  about {_duration(found.seconds)} of training on this machine as it is busy now")
        seconds += found.seconds
    print(f"All of it would take about {_duration(seconds)}. Nothing was trained or written.")
    return 0


def _key(options: argparse.Namespace) -> int:
    for experiment in _selected(options):
        print(f"{experiment.key()}  {experiment.label}, seed {experiment.seed}")
        if options.yaml:
            print(experiment.to_yaml())
    return 0


def _show(options: argparse.Namespace) -> int:
    from cotrain import describe

    if (text := describe.describe(options.what)) is not None:
        print(text)
        return 0
    with _database():
        from cotrain.tables import queries, runs

        key = queries.find_run(options.what)
        experiment = runs.Run.load(key)
        print(queries.overview(queries.runs() & key).T.to_string(header=False))
        print("\n" + experiment.to_yaml())
        for attempt in queries.attempts_of(key):
            commits = "; ".join(
                f"{place} at {held['commit'] or 'no commit'}{' with uncommitted changes' * held['dirty']}"
                for place, held in attempt["repositories"].items()
            )
            print(
                f"attempt {attempt['attempt']}: {attempt['status']} on {attempt['host']} ({attempt['device']}), "
                f"cotrain {attempt['cotrain_version']}, Python {attempt['python_version']}; "
                f"{commits or 'no repository'}"
            )
            if attempt["error"]:
                print(f"  {attempt['error']}")
        curves = queries.curves(key)
        if len(curves):
            shown = curves[(curves.session == "") & (curves.split == "validation")]
            wide = shown.pivot_table(index="epoch", columns=["task", "metric"], values="value")
            print("\nvalidation scores\n" + wide.to_string(float_format="{:.3f}".format))
        scores = queries.held_out_scores(queries.runs() & key)
        if len(scores):
            print("\ntest scores\n" + _table(scores[["task", "session", "metric", "value"]]))
    return 0


def _enqueue(options: argparse.Namespace) -> int:
    if options.recipe.endswith((".yaml", ".yml")):
        raise RecipeError(f"The queue takes recipes; {options.recipe} is one experiment, which `cotrain run` trains.")
    recipe = find_recipe(options.recipe)
    experiments = recipe().expand()  # before the database: a wrong recipe needs none to be refused
    with _database():
        from cotrain.tables import queue

        counts = queue.enqueue(recipe, recipe.name(), priority=options.priority)
    print(
        f"{recipe.name()}: {len(experiments)} runs; {counts.queued} queued now, {counts.waiting} were queued or begun "
        f"before, {counts.finished} are finished."
    )
    return 0


def _work(options: argparse.Namespace) -> int:
    with _database():
        from cotrain.tables import queries, queue

        def announce(key: dict[str, Any]) -> None:
            row = queries.overview(queries.runs() & key).iloc[0]
            print(f"{row['label']} ({key['run_key'][:8]})", flush=True)

        recipe = None if options.recipe is None else queries.find_recipe_name(options.recipe)
        finished, failed = queue.work(
            recipe=recipe, max_runs=options.max_runs, progress=sys.stderr.isatty(), on_start=announce
        )
    print(f"{finished} runs finished, {failed} failed.")
    return 1 if failed else 0


def _ls(options: argparse.Namespace) -> int:
    where = dict(_assignment(text) for text in options.where)
    with _database():
        from cotrain.tables import queries

        recipe = None if options.recipe is None else queries.find_recipe_name(options.recipe)
        table = queries.overview(queries.runs(recipe=recipe, where=where))
    if options.csv:
        print(table.to_csv(), end="")
    elif len(table):
        table.index = [key[:8] for key in table.index]
        print(table.to_string(float_format="{:.3f}".format, na_rep="-"))
    else:
        print("No such runs. `cotrain enqueue RECIPE` makes some.")
    return 0


def _report(options: argparse.Namespace) -> int:
    if options.out and not options.out.parent.is_dir():
        raise CotrainError(f"There is no folder {options.out.parent} for the picture. Make it, or name another.")
    with _database():
        from cotrain.tables import queries, report

        recipe = queries.find_recipe_name(options.recipe)
        print(report.text(recipe))
        if options.out:
            report.draw(recipe, options.out)
            print(f"\npicture: {options.out}")
    return 0


def _db(options: argparse.Namespace) -> int:
    from cotrain.tables.connect import embedded

    database = embedded()
    if options.action == "start":
        database.start()
    elif options.action == "stop":
        print("stopped" if database.stop() else "was not running")
        return 0
    status = database.status()
    place = f"at {status.host}:{status.port}, process {status.pid}" if status.running else "not running"
    print(f"embedded PostgreSQL {status.version or ''} in {status.home}: {place}")
    return 0


@contextlib.contextmanager
def _database() -> Iterator[None]:
    from cotrain.tables.connect import connect, disconnect

    connect()
    try:
        yield
    finally:
        disconnect()


def _assignment(text: str) -> tuple[str, Any]:
    """`lr=1e-3` as ("lr", 0.001)."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"--where needs PATH=VALUE, for example optimiser.lr=1e-3; found {text!r}.")
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return path, kind(value)
    return path, {"true": True, "false": False, "null": None}.get(value, value)


def _table(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, float_format="{:.4f}".format)


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


if __name__ == "__main__":
    sys.exit(main())
