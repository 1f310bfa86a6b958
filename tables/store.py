"""The lab's store of trained weights: put in, loaded as models, compared with what the rows tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cotrain import training
from cotrain.errors import DatabaseError, StoreError
from cotrain.models import MultiTaskModel
from cotrain.settings import home_folder
from cotrain.tables import queries
from cotrain.tables._datajoint import dj
from cotrain.tables.kept_weights import KeptWeights
from cotrain.tables.restore import fetch_needed, in_order
from cotrain.tables.runs import Run, TrainedModel
from cotrain.tables.weights import READING, StoredWeights, opened_store, put
from cotrain.tasks import DataInfo

HOLDING = ((TrainedModel, "state"), (KeptWeights, "kept_state"))  # tables with weights, and their column


def store_weights(key: dict[str, Any], file: Path) -> StoredWeights:
    """Copy a run's weights into the store; a row of `TrainedModel` is to hold what comes back, or of `KeptWeights`.

    Args:
        key: Of that row: with an `epoch` it is one of `KeptWeights`.
        file: What is copied.

    Raises:
        StoreError: The store is full, does not answer or refuses. Nothing is left in it then.
    """
    table, column = HOLDING["epoch" in key]
    return put(file, dj.config, table().database, table.table_name, column, key)


def stored_weights(selection: Any = None) -> Iterator[tuple[str, StoredWeights]]:
    """What the rows tell of all weights, with the key of their run: of some runs, a DataJoint query, or of all."""
    for table, column in HOLDING:
        rows = table() if selection is None else table() & selection.proj()
        for row in rows.proj(column).to_dicts(order_by=table.primary_key):
            yield row["run_key"], row[column]


def load_model(run: str | dict[str, Any], *, epoch: int | None = None, device: str = "cpu") -> MultiTaskModel:
    """The trained model of a run, in evaluation mode, from database and store alone.

    Args:
        run: Its key, the key's beginning, or its label; or a row with `run_key`.
        epoch: After how many epochs: of those that were kept, or 0, the network as training began, which is built anew
            from its config. None: the best epoch.
        device: Where the model goes: "cpu", "cuda", "cuda:1", or "auto".

    Raises:
        DatabaseError: There is no such run, it is not finished, or its weights after that epoch were not kept.
        StoreError: Its weights are missing, cut off or changed.
        CotrainError: What the network of epoch 0 starts from is not there.
        TrainingError: There is no such device here.
    """
    place = training.pick_device(device)
    key = queries.find_run(run) if isinstance(run, str) else {"run_key": run["run_key"]}
    row = (TrainedModel() & key).to_dicts()
    if not row:
        raise DatabaseError(f"Run {key['run_key']} is not finished, or not in this database. `cotrain ls` lists all.")
    info = DataInfo.from_record(in_order(row[0]["data_info"]))
    experiment = Run.load(key)
    if epoch == 0:
        runs = home_folder() / "runs"
        fetch_needed(experiment, runs)
        with training.looking_beside(runs):
            return training.initial_model(experiment, info).to(place)
    weights = row[0]["state"]
    if epoch not in (None, row[0]["best_epoch"]):
        held = (KeptWeights() & key & {"epoch": epoch}).to_dicts()
        if not held:
            there = sorted({0, row[0]["best_epoch"], *KeptWeights.epochs(key)})
            raise DatabaseError(
                f"Of run {key['run_key']} there are no weights after epoch {epoch}, but after "
                f"{', '.join(map(str, there))}. `keep_epochs` of the trainer's config says which a run keeps."
            )
        weights = held[0]["kept_state"]
    return training.load_model(experiment, info, weights.open()).to(place)


def stored_files() -> dict[str, int]:
    """All files of weights that lie in the store for this schema: {path within the store: size in bytes}.

    Raises:
        StoreError: The store does not answer, or refuses.
    """
    files: dict[str, int] = {}
    with opened_store(dj.config, "The files in the store cannot be listed", READING) as backend:
        backend.fs.invalidate_cache()  # what other machines wrote meanwhile
        for table, _ in HOLDING:
            section = f"{backend.spec['schema_prefix']}/{table().database}/{table.table_name}".lstrip("/")
            root = backend.fs._strip_protocol(backend._full_path(section))
            found = backend.fs.find(root, detail=True)
            files |= {section + name[len(root) :]: int(info["size"]) for name, info in found.items()}
    return files


def verify_checkpoints(selection: Any = None, *, full: bool = False) -> list[str]:
    """What is wrong with stored weights, a sentence each.

    Args:
        selection: Runs to look at, as a DataJoint query; None: all.
        full: Read every file and compare its SHA-256; else names and sizes alone are compared.

    Raises:
        StoreError: The store does not answer, or refuses.
    """
    files = stored_files()
    problems = []
    for run, weights in stored_weights(selection):
        if not full and files.get(weights.path) == weights.size:
            continue
        try:
            weights.check()
        except StoreError as error:
            problems.append(f"Run {run}: {error}")
    return problems
