"""Commands about data files: `data inspect`, `data convert`, `data fetch`, `data list`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cotrain.errors import CotrainError
from cotrain.settings import data_folder

PICTURES = (".png", ".pdf", ".svg")


def inspect(options: argparse.Namespace) -> int:
    """Print what a file or folder holds, and draw it."""
    from cotrain.analysis import inspect_data, inspection_figure

    if options.out and not options.out.absolute().parent.is_dir():
        raise CotrainError(f"There is no folder {options.out.parent} for the picture. Make it, or name another.")
    if options.out and options.out.suffix.lower() not in PICTURES:
        raise CotrainError(f"Name the picture {', '.join(PICTURES)}, not {options.out.name!r}.")
    path = _existing(options.path)
    found = inspect_data(path, format=options.format, near=options.near)
    print(f"{found.title}\n")
    print(found.table.to_string(float_format="{:.3f}".format, na_rep="-"))
    print()
    for fact in found.facts:
        print(fact)
    if options.out:
        inspection_figure(found).savefig(options.out, dpi=110)
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
