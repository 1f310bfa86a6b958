"""Runs, configs and scores as CSV or Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.errors import CotrainError, DatabaseError
from cotrain.resolve import read_config
from cotrain.tables._frames import frame
from cotrain.tables.configs import leaves
from cotrain.tables.overview import COLUMNS, overview
from cotrain.tables.queries import scores
from cotrain.tables.runs import PARTS, EpochScore, Run
from cotrain.tables.selection import only
from cotrain.tables.store import stored_weights

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "parquet")
RUNS_AT_ONCE = 100  # of millions of epoch scores only these runs' are in memory


def export(selection: Any, out: Path, *, form: str = "csv", checkpoints: bool = False) -> dict[str, int]:
    """Write what the database has on some runs.

    Args:
        selection: Runs, as a DataJoint query.
        out: A folder, which then has the tables `runs`, `configs` (a column a path), `epoch_scores` and `test_scores`;
            or a file named .csv or .parquet, with a row a run: its overview, configs and test scores.
        form: `csv` or `parquet`, of the files in a folder.
        checkpoints: Whether to write each finished run's weights to `checkpoints/RUN.pt` in the folder, and those that
            it kept to `checkpoints/RUN-epoch-N.pt`.

    Returns:
        {path of a file, from `out`: its rows}.

    Raises:
        DatabaseError: A file is there already, its format is unknown, pyarrow is missing, or no run is selected.
    """
    single = out.suffix.removeprefix(".") in FORMATS
    form = out.suffix.removeprefix(".") if single else form
    if form == "parquet" and find_spec("pyarrow") is None:
        raise DatabaseError("Parquet files need pyarrow: pip install pyarrow. CSV files need nothing.")
    if checkpoints and single:
        raise DatabaseError(f"Weights need a folder, and {out} is one file. Leave out its .{form}.")
    keys = list(overview(selection, columns=["label"]).index)
    if not keys:
        raise DatabaseError("No run is selected; there is nothing to export.")
    selection = Run() & only(keys)  # what comes in while this goes on is left out
    contents: dict[str, Iterator[pd.DataFrame]] = {
        "runs": iter([overview(selection, columns=COLUMNS).reset_index()]),
        "configs": _configs(selection, keys),
        "epoch_scores": _epoch_scores(keys),
        "test_scores": iter([scores(selection, session=None)]),
    }
    if single:
        return {out.name: _write(out, _one_table(selection, keys))}
    targets = {name: out / f"{name}.{form}" for name in contents}
    targets |= {"checkpoints": out / "checkpoints"} if checkpoints else {}
    for path in targets.values():
        if path.exists():
            raise DatabaseError(f"{path} is there already. Name another folder.")
    out.mkdir(parents=True, exist_ok=True)
    counts = {targets[name].name: _write(targets[name], frames) for name, frames in contents.items()}
    if checkpoints:
        counts["checkpoints"] = _write_weights(selection, targets["checkpoints"])
    return counts


def _one_table(selection: Any, keys: Sequence[str]) -> Iterator[pd.DataFrame]:
    found = overview(selection, columns=COLUMNS)
    tested = scores(selection, session=None)
    tested["column"] = (tested.task + " " + tested.session).str.strip() + " " + tested.metric
    wide = tested.pivot(index="run_key", columns="column", values="value").rename_axis(columns=None)
    for configs in _configs(selection, keys):
        rows = configs.set_index("run")
        yield found.loc[rows.index].join(rows).join(wide).reset_index()


def _configs(selection: Any, keys: Sequence[str]) -> Iterator[pd.DataFrame]:
    """One row a run, one column a path of any of its configs: numbers where all values are, else text."""
    import pandas as pd

    owners = [f"{table.part}_key" for table in PARTS.values()]
    runs = frame(selection, "run_key", *owners).set_index("run_key")
    held = {}
    for part, table in PARTS.items():
        column = f"{table.part}_key"
        rows = (table() & only(runs[column].unique(), column)).to_dicts()
        held[column] = pd.DataFrame(
            {row[column]: _values(part, row[f"{table.part}_config"]) for row in rows}
        ).T.infer_objects()
    for begin in range(0, len(keys), RUNS_AT_ONCE):
        some = runs.loc[list(keys[begin : begin + RUNS_AT_ONCE])]
        parts = [held[column].reindex(some[column]).set_axis(some.index) for column in owners]
        yield pd.concat(parts, axis=1).rename_axis("run").reset_index()


def _values(part: str, record: dict[str, Any]) -> dict[str, Any]:
    with suppress(CotrainError):  # of a package that is not here: as it is stored
        record = read_config(record, stored=True).record()
    return {path: text if number is None else number for path, number, text in leaves(record, part)}


def _epoch_scores(keys: Sequence[str]) -> Iterator[pd.DataFrame]:
    columns = ("run_key", "attempt", "epoch_number", "task", "session", "split", "metric", "value")
    for begin in range(0, len(keys), RUNS_AT_ONCE):
        found = frame(EpochScore() & only(keys[begin : begin + RUNS_AT_ONCE]), *columns)
        yield found.sort_values(list(columns[:-1]), ignore_index=True)


def _write(path: Path, frames: Iterator[pd.DataFrame]) -> int:
    """Write tables one below the other, and the file's name when it is whole; how many rows."""
    if path.exists():
        raise DatabaseError(f"{path} is there already. Name another file.")
    if not path.parent.is_dir():
        raise DatabaseError(f"There is no folder {path.parent}. Make it, or name another.")
    part = path.with_name(f".{path.name}.part")
    try:
        rows = _write_parquet(part, frames) if path.suffix == ".parquet" else _write_csv(part, frames)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return rows


def _write_csv(path: Path, frames: Iterator[pd.DataFrame]) -> int:
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, table in enumerate(frames):
            table.to_csv(file, index=False, header=number == 0)
            rows += len(table)
    return rows


def _write_parquet(path: Path, frames: Iterator[pd.DataFrame]) -> int:
    import pyarrow
    from pyarrow import parquet

    first = next(frames)
    head = pyarrow.Table.from_pandas(_plain(first), preserve_index=False)
    rows = 0
    with parquet.ParquetWriter(path, head.schema) as file:
        for table in chain([first], frames):
            file.write_table(pyarrow.Table.from_pandas(_plain(table), schema=head.schema, preserve_index=False))
            rows += len(table)
    return rows


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed values as text, which is the one type that holds them all."""
    mixed = [name for name in table if table[name].dtype == object]
    return table.astype(dict.fromkeys(mixed, "string"))


def _write_weights(selection: Any, folder: Path) -> int:
    folder.mkdir()
    found = [weights for _, weights in stored_weights(selection)]
    for weights in found:
        weights.download(folder)
    return len(found)
