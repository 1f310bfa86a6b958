"""What people say of runs: tags to find them by, and notes."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from typing import Any

from cotrain.errors import DatabaseError
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.runs import Run

__all__ = [
    "Note",
    "Run",
    "Tag",
    "add_note",
    "add_tags",
    "notes_of",
    "remove_tags",
    "tags_of",
]  # DataJoint looks up `-> Run` here


@schema
class Tag(dj.Manual):
    """Words that people hang on runs."""

    definition = """
    # A tag of a run
    -> Run
    tag : varchar(64)
    ---
    tag_by = '' : varchar(64)           # user of the operating system
    tag_ts = CURRENT_TIMESTAMP : datetime
    """


@schema
class Note(dj.Manual):
    """What people wrote about runs."""

    definition = """
    # A note on a run
    -> Run
    note : int32                        # counted from 1
    ---
    note_text : varchar(2000)
    note_by = '' : varchar(64)          # user of the operating system
    note_ts = CURRENT_TIMESTAMP : datetime
    """


def add_tags(runs: Iterable[str], tags: Iterable[str]) -> None:
    """Hang tags on runs, given by their keys; those that are there stay as they are.

    Raises:
        DatabaseError: A tag has no letters, is longer than 64 characters, or has spaces in it.
    """
    words = [_checked(tag) for tag in tags]
    rows = [{"run_key": run, "tag": word, "tag_by": _person()} for run in runs for word in words]
    Tag.insert(rows, skip_duplicates=True)


def remove_tags(runs: Iterable[str], tags: Iterable[str]) -> int:
    """Take tags off runs; how many there were.

    Raises:
        DatabaseError: None of the runs has one of these tags.
    """
    held = Tag() & [{"run_key": run} for run in runs] & [{"tag": tag} for tag in tags]
    if not (count := len(held)):
        raise DatabaseError(
            f"No such run has the tag {' or '.join(map(repr, tags))}. `cotrain show RUN` lists its tags."
        )
    held.delete_quick()
    return count


def add_note(run: str, text: str) -> None:
    """Write a note on a run.

    Raises:
        DatabaseError: The text is empty or longer than 2000 characters.
    """
    if not text.strip() or len(text) > 2000:
        raise DatabaseError(f"A note has 1 to 2000 characters, found {len(text.strip())}.")
    with Note.connection.transaction:
        last = dj.U().aggr(Note() & {"run_key": run}, last="MAX(note)").fetch1("last")
        Note.insert1({"run_key": run, "note": (last or 0) + 1, "note_text": text, "note_by": _person()})


def tags_of(key: dict[str, str]) -> list[str]:
    """The tags of a run, in the order of the alphabet."""
    return sorted(row["tag"] for row in (Tag() & key).proj().to_dicts())


def notes_of(key: dict[str, str]) -> list[dict[str, Any]]:
    """The notes on a run, oldest first."""
    rows: list[dict[str, Any]] = (Note() & key).to_dicts(order_by="note")
    return rows


def _checked(tag: str) -> str:
    if not tag or len(tag) > 64 or any(letter.isspace() or not letter.isprintable() for letter in tag):
        raise DatabaseError(f"A tag is one word of at most 64 characters, found {tag!r}.")
    return tag


def _person() -> str:
    """Who works here; containers may have no name for it."""
    try:
        return getpass.getuser()[:64]
    except (KeyError, OSError):
        return ""
