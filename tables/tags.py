"""What people say of runs: tags to find them by, and notes."""

from __future__ import annotations

from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.runs import Run

__all__ = ["Note", "Run", "Tag"]  # DataJoint looks up `-> Run` here


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
