"""Pictures as files: whole or not at all, and equal where what they show is equal."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cotrain.errors import CotrainError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# no dates, so that the same picture is the same file
METADATA: dict[str, dict[str, str | None]] = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
DOTS = 200  # an inch, of PNG files
# letters stay letters, which drawing programs edit and readers search
LETTERS = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "cotrain"}


def check_picture_path(path: Path) -> None:
    """Refuse a file that could not be written, before anything is computed.

    Raises:
        CotrainError: There is no such folder, or the name ends in no format that is written.
    """
    if not path.absolute().parent.is_dir():
        raise CotrainError(f"There is no folder {path.parent} for the picture. Make it, or name another.")
    if path.suffix.lower() not in METADATA:
        raise CotrainError(f"Name the picture {', '.join(METADATA)}, not {path.name!r}.")
    if path.is_dir():
        raise CotrainError(f"{path} is a folder. Name a file in it for the picture.")


def save_figure(figure: Figure, path: Path | str, *, dpi: int = DOTS) -> None:
    """Write a figure; the file's old content stays until the new one is complete.

    Args:
        figure: Of matplotlib.
        path: Ends in .png, .pdf or .svg, which says the format.
        dpi: Dots an inch of PNG files, and of pictures within the others.

    Raises:
        CotrainError: As `check_picture_path`, or the file cannot be written.
    """
    import matplotlib as mpl

    path = Path(path)
    check_picture_path(path)
    suffix = path.suffix.lower()
    drawn = io.BytesIO()
    with mpl.rc_context(LETTERS):
        figure.savefig(drawn, dpi=dpi, format=suffix[1:], metadata=METADATA[suffix])
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(drawn.getbuffer())
        temporary.replace(path)
    except OSError as error:
        raise CotrainError(f"The picture {path} cannot be written: {error}.") from None
    finally:
        temporary.unlink(missing_ok=True)
