"""The lab's store of trained weights: put in, loaded as models, compared with what the rows tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cotrain import training
from cotrain.errors import DatabaseError, StoreError
from cotrain.models import MultiTaskModel
from cotrain.tables import queries
from cotrain.tables._datajoint import dj
from cotrain.tables.restore import in_order
from cotrain.tables.runs import Run, TrainedModel
from cotrain.tables.weights import READING, StoredWeights, opened_store, put
from cotrain.tasks import DataInfo


def store_weights(key: dict[str, Any], file: Path) -> StoredWeights:
    """Copy a run's weights into the store; the row of `TrainedModel` is to hold what comes back.

    Raises:
        StoreError: The store is full, does not answer or refuses. Nothing is left in it then.
    """
    table = TrainedModel()
    return put(file, dj.config, table.database, table.table_name, "state", key)


def load_model(run: str | dict[str, Any], *, device: str = "cpu") -> MultiTaskModel:
    """The trained model of a run, in evaluation mode, from database and store alone.

    Args:
        run: Its key, the key's beginning, or its label; or a row with `run_key`.
        device: Where the model goes: "cpu", "cuda", "cuda:1", or "auto".

    Raises:
        DatabaseError: There is no such run, or it is not finished.
        StoreError: Its weights are missing, cut off or changed.
        TrainingError: There is no such device here.
    """
    place = training.pick_device(device)
    key = queries.find_run(run) if isinstance(run, str) else {"run_key": run["run_key"]}
    row = (TrainedModel() & key).to_dicts()
    if not row:
        raise DatabaseError(f"Run {key['run_key']} is not finished, or not in this database. `cotrain ls` lists all.")
    info = DataInfo.from_record(in_order(row[0]["data_info"]))
    return training.load_model(Run.load(key), info, row[0]["state"].open()).to(place)


def stored_files() -> dict[str, int]:
    """All files of weights that lie in the store for this schema: {path within the store: size in bytes}.

    Raises:
        StoreError: The store does not answer, or refuses.
    """
    table = TrainedModel()
    with opened_store(dj.config, "The files in the store cannot be listed", READING) as backend:
        section = f"{backend.spec['schema_prefix']}/{table.database}/{table.table_name}".lstrip("/")
        backend.fs.invalidate_cache()  # what other machines wrote meanwhile
        root = backend.fs._strip_protocol(backend._full_path(section))
        found = backend.fs.find(root, detail=True)
        return {section + name[len(root) :]: int(info["size"]) for name, info in found.items()}


def verify_checkpoints(selection: Any = None, *, full: bool = False) -> list[str]:
    """What is wrong with stored weights, a sentence each.

    Args:
        selection: Runs to look at, as a DataJoint query; None: all.
        full: Read every file and compare its SHA-256; else names and sizes alone are compared.

    Raises:
        StoreError: The store does not answer, or refuses.
    """
    rows = (TrainedModel() if selection is None else TrainedModel() & selection.proj()).proj("state")
    files = stored_files()
    problems = []
    for row in rows.to_dicts(order_by="run_key"):
        if not full and files.get(row["state"].path) == row["state"].size:
            continue
        try:
            row["state"].check()
        except StoreError as error:
            problems.append(f"Run {row['run_key']}: {error}")
    return problems
