"""Commands about data files: `data inspect`, `data convert`, `data fetch`, `data list`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cotrain.cli._commands import Commands
from cotrain.errors import CotrainError
from cotrain.settings import data_folder

FORMATS = ("brain_observatory", "cadena2024", "cadieu2014", "cotrain", "cowley2023", "majaj2015", "sinz_pickles")
"""Those of `cotrain.data.recordings`, named here so that `--help` needs no torch."""


def add_commands(commands: Commands) -> None:
    group = commands.group(
        "data", "look at data files, convert recordings, fetch public sets", "inspect session42.npz", "fetch cifar10"
    )

    def add_source(added: argparse.ArgumentParser) -> None:
        text = "a file or folder, from here or else from the data folder"
        added.add_argument("path", type=Path, help=text)
        added.add_argument("--format", choices=FORMATS, help="format of a recording (default: found out)")

    added = group.add(
        "inspect",
        inspect,
        "show shapes, counts, copies and reliability of a recording, an NPZ file or a folder of pictures",
        "session42.npz --out session42.png",
        "cowley_v4",
    )
    add_source(added)
    added.add_argument("--out", type=Path, help="draw a contact sheet and histograms into this .png, .pdf or .svg file")
    near = "bits, of 256, by which average hashes of near copies differ at most (default 8)"
    added.add_argument("--near", type=int, default=8, metavar="BITS", help=near)

    added = group.add(
        "convert",
        convert,
        "write a recording in the open format (docs/recording_format.md), once for all readers",
        "lab_pickles v4_sessions --window-ms 70 160",
    )
    add_source(added)
    added.add_argument("out", type=Path, help="folder that is made")
    added.add_argument("--session", action="append", metavar="NAME", help="only this session; repeatable")
    window = "responses are summed from and to this time after onset, where the files hold time bins"
    added.add_argument("--window-ms", type=float, nargs=2, metavar=("FROM", "TO"), help=window)

    added = group.add(
        "fetch",
        fetch,
        "download a public data set into the data folder; an interrupted download goes on",
        "cifar10",
        "cadena2024_v4 --yes",
    )
    added.add_argument("name", help="one of those that `cotrain data list` names")
    added.add_argument("--yes", action="store_true", help="accept its terms, which are shown")

    group.add("list", list_sets, "list the public data sets that can be fetched")


def inspect(options: argparse.Namespace) -> int:
    """Print what a file or folder holds, and draw it."""
    from cotrain.analysis import check_picture_path, inspect_data, inspection_figure, save_figure

    if options.out:
        check_picture_path(options.out)
    path = _existing(options.path)
    found = inspect_data(path, format=options.format, near=options.near)
    print(f"{found.title}\n")
    print(found.table.to_string(float_format="{:.3f}".format, na_rep="-"))
    print()
    for fact in found.facts:
        print(fact)
    if options.out:
        save_figure(inspection_figure(found), options.out, dpi=110)
        print(f"\npicture: {options.out}")
    return 0


def convert(options: argparse.Namespace) -> int:
    """Read a recording in its published format and write it in the open one."""
    from cotrain.data.recordings import read_recording, save_recording

    window = None if options.window_ms is None else tuple(options.window_ms)
    recording = read_recording(
        _existing(options.path), options.format, sessions=options.session or None, window_ms=window
    )
    save_recording(recording, options.out)
    stimuli = {name: len(session.stimuli) for name, session in recording.sessions.items()}
    print(f"{options.out}: {len(stimuli)} sessions, {sum(stimuli.values())} stimuli, in {recording.unit}.")
    return 0


def fetch(options: argparse.Namespace) -> int:
    """Download a public set into the data folder, after its terms were shown."""
    from cotrain import data

    def accept(terms: str) -> bool:
        print(terms)
        if options.yes:
            return True
        if not sys.stdin.isatty():
            raise CotrainError("Say --yes to accept these terms; there is no terminal to ask at.")
        return input("\nFetch it under these terms? [y/N] ").strip().lower() in ("y", "yes")

    place = data.fetch(options.name, data_folder(), progress=sys.stderr.isatty(), accept=accept)
    print(f"\n{place}\nRead it with the data config {data.public_sets()[options.name].config}")
    return 0


def list_sets(_: argparse.Namespace) -> int:
    """Print the public sets that `fetch` knows."""
    from cotrain.data import public_sets

    for held in public_sets().values():
        size = f"{held.size / 1e6:,.0f} MB" if held.size else "by hand" if held.by_hand else ""
        print(f"{held.name:16} {size:>9}  {held.title}")
    return 0


def _existing(path: Path) -> Path:
    """As named from here, or else from the data folder."""
    return path if path.exists() or path.is_absolute() else data_folder() / path
