"""A run again, as it was: what differs here from where it was trained, and whether its scores come out the same."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.errors import CotrainError, DatabaseError
from cotrain.resolve import build
from cotrain.tables.provenance import capture
from cotrain.tables.restore import fetch_needed
from cotrain.tables.runs import Attempt, EpochScore, Provenance, Run, TrainedModel
from cotrain.training import looking_beside

if TYPE_CHECKING:
    import pandas as pd

# whose releases change numbers; of others only code that they alone run
NUMERIC = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "torchjd", "h5py", "pillow", "pydantic", "cotrain")
DEVICE = ("gpus", "driver", "cuda", "cudnn", "cpu", "cpu_capability")
CELL = ("epoch", "task", "session", "split", "metric")


class Matters(IntEnum):
    """How much a difference matters, most first."""

    DATA = 0  # another experiment in effect
    CODE = 1  # may compute something else
    NUMBERS = 2  # computes the same, perhaps with other rounding
    REST = 3  # should change nothing


@dataclass(frozen=True)
class Difference:
    """One difference between where a run was trained and this process.

    Args:
        matters: How much.
        what: Its name.
        then, now: Both values, as text.
        remedy: A shell line that leads there, or words; empty where there is none.
    """

    matters: Matters
    what: str
    then: str
    now: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.what}: then {self.then}, now {self.now}" + (f"\n    {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Repeated:
    """How the scores of a run that was trained again compare with the stored ones.

    Args:
        compared: Number of scores that both have.
        different: How many of these differ at all.
        largest: The largest absolute difference; infinite where one of the two alone is undefined (NaN).
        where: (epoch, task, session, split, metric) of it.
        missing: Scores that one of both alone has.
    """

    compared: int
    different: int
    largest: float
    where: tuple[Any, ...]
    missing: tuple[tuple[Any, ...], ...]

    @property
    def equal(self) -> bool:
        """Whether every score is the same, bit for bit."""
        return self.compared > 0 and not self.different and not self.missing


def origin(key: dict[str, str]) -> dict[str, Any]:
    """The attempt that finished a run, with its code and environment.

    Raises:
        DatabaseError: The run is not finished.
    """
    done = TrainedModel() & key
    if not done:
        raise DatabaseError(f"The run {key['run_key']} is not finished: there are no scores to compare with.")
    row: dict[str, Any] = ((Attempt() * Provenance()) & done.proj("attempt")).fetch1()
    return row


def other_attempts(key: dict[str, str], row: Mapping[str, Any]) -> list[int]:
    """Attempts that hold epochs of the run and had another code or environment than the one that finished it."""
    others = (Attempt() & key).proj("provenance_key") & EpochScore().proj()
    rows = others.to_dicts(order_by="attempt")
    return [held["attempt"] for held in rows if held["provenance_key"] != row["provenance_key"]]


def differences(
    key: dict[str, str], row: Mapping[str, Any], *, runs: Path, patches: Path | None = None, ranks: int = 1
) -> list[Difference]:
    """What differs between where a run was trained and this process, what matters most first.

    Args:
        key: The run's.
        row: Its `origin`.
        runs: Folder of the runs of this machine; those that this one needs are written there.
        patches: Folder to write the uncommitted changes of then into, as patches; None: they are not written.
        ranks: Processes that are to share each batch.

    Raises:
        DatabaseError: The weights of a run that this one needs cannot be read.
    """
    now = capture()
    found = [*_data(key, runs), *_repositories(row, now, patches), *_ranks(row, ranks), *_environment(row, now)]
    return sorted(found, key=lambda difference: difference.matters)


def _ranks(row: Mapping[str, Any], ranks: int) -> Iterator[Difference]:
    """Sums over several processes round otherwise; their number stands in the worker's command."""
    said = re.search(r"--ranks[ =](\d+)", row["command"])
    then = int(said[1]) if said else 1
    if then != ranks:
        yield Difference(Matters.NUMBERS, "ranks", str(then), str(ranks), f"--ranks {then}")


def _data(key: dict[str, str], runs: Path) -> Iterator[Difference]:
    experiment = Run.load(key)
    then = (TrainedModel() & key).fetch1("data_info")["fingerprint"]
    fetch_needed(experiment, runs)
    try:
        with looking_beside(runs):
            now = build(experiment.data, seed=experiment.seed).info.fingerprint
    except CotrainError as error:
        yield Difference(Matters.DATA, "data", f"fingerprint {then}", f"they cannot be read: {error}")
        return
    if now != then:
        remedy = "a data file has changed: restore it, or set COTRAIN_DATA"
        yield Difference(Matters.DATA, "data", f"fingerprint {then}", f"fingerprint {now}", remedy)


def _repositories(then: Mapping[str, Any], now: Mapping[str, Any], patches: Path | None) -> Iterator[Difference]:
    if then["cotrain_version"] != now["cotrain_version"]:
        yield Difference(Matters.CODE, "cotrain", then["cotrain_version"], now["cotrain_version"])
    held, mine = _by_role(then), _by_role(now)
    told: set[str] = set()
    for role, (folder, said) in held.items():
        if folder in told:
            continue
        told.add(folder)
        what = f"code of {role}"
        here, own = mine.get(role, ("", {}))
        if not here:
            # the current folder matters where it held code
            source = said.get("remote") or folder
            remedy = f"git clone {source}; git checkout {said['commit']}"
            yield Difference(Matters.CODE, what, f"{folder} at {said['commit']}", "no repository", remedy)
            continue
        if said["commit"] != own["commit"]:
            remedy = f"git -C {here} checkout {said['commit']}"
            yield Difference(Matters.CODE, f"{what}, commit", said["commit"], own["commit"] or "none", remedy)
        theirs, ours = (then["changes"] or {}).get(folder, ""), now["changes"].get(here, "")
        if theirs != ours:
            yield Difference(
                Matters.CODE,
                f"{what}, uncommitted changes",
                _size(theirs),
                _size(ours),
                _apply(theirs, here, role, patches),
            )
        left, now_left = (", ".join(side.get("left_out", {})) or "none" for side in (said, own))
        if left != now_left or left != "none":  # of the same files the content may differ
            matters = Matters.CODE if left != now_left else Matters.REST
            yield Difference(matters, f"{what}, changed files that no patch holds whole", left, now_left)
    if not held:
        yield from _installation(then["environment"], now["environment"])


def _installation(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = then.get("installation", {}), now.get("installation", {})
    if before != after:
        remedy = f"pip install from {before['direct_url']}" if "direct_url" in before else ""
        yield Difference(Matters.CODE, "installed cotrain", _named(before), _named(after), remedy)


def _named(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "not recorded"


def _by_role(row: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """{whose code: its folder and what git said}; a folder may have moved since. Submodules go by their names."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for folder, said in row["repositories"].items():
        for role in said["of"]:
            top, _ = found.setdefault(role, (folder, said))
            if top != folder:  # they come after what they lie in
                found[f"{role}/{folder.removeprefix(top).strip('/')}"] = (folder, said)
    return found


def _size(patch: str) -> str:
    return f"{len(patch):,} characters" if patch else "none"


def _apply(patch: str, folder: str, role: str, patches: Path | None) -> str:
    clean = f"git -C {folder} stash --include-untracked"
    if not patch:
        return clean
    if patches is None:
        return "--out FOLDER writes them as a patch"
    file = patches.resolve() / f"changes of {role}.patch".replace("/", "-").replace(" ", "_")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(patch, encoding="utf-8")
    return f"{clean}; git -C {folder} apply {file}"


def _environment(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    def pair(matters: Matters, what: str, before: Any, after: Any, remedy: str = "") -> Iterator[Difference]:
        if before != after:
            yield Difference(matters, what, _text(before), _text(after), remedy)

    yield from pair(
        Matters.NUMBERS, "image", then["image"], now["image"], then["image"] and f"docker run {then['image']}"
    )
    yield from pair(Matters.NUMBERS, "Python", then["python_version"], now["python_version"])
    yield from pair(Matters.REST, "platform", then["platform"], now["platform"])
    before, after = then["packages"], now["packages"]
    for name in sorted({*before, *after}):
        matters = Matters.NUMBERS if name.lower() in NUMERIC or name.startswith("nvidia-") else Matters.REST
        remedy = f"pip install {name}=={before[name]}" if name in before else f"pip uninstall {name}"
        yield from pair(matters, f"package {name}", before.get(name), after.get(name), remedy)
    before, after = then["environment"], now["environment"]
    for name in [*DEVICE, *(name for name in {**before, **after} if name not in DEVICE)]:
        if name not in ("variables", "installation"):
            remedy = f"export OMP_NUM_THREADS={before.get(name)}" if name == "threads" else ""
            yield from pair(Matters.NUMBERS, name, before.get(name), after.get(name), remedy)
    before, after = (side.get("variables", {}) for side in (before, after))
    for name in sorted({*before, *after}):
        remedy = f"export {name}={before[name]}" if name in before else f"unset {name}"
        yield from pair(Matters.NUMBERS, name, before.get(name), after.get(name), remedy)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)


def compare(key: dict[str, str], scores: pd.DataFrame) -> Repeated:
    """Compare every score of a run that was trained again with the stored ones.

    Args:
        key: The run's.
        scores: Columns epoch, task, session, split, metric, value: of every epoch, and of the test.
    """
    stored = {
        (row["epoch_number"], *(row[name] for name in CELL[1:])): row["value"]
        for row in (EpochScore() & key).to_dicts()
    }
    best = (TrainedModel() & key).fetch1("best_epoch")
    tested = (TrainedModel.Score() & key & {"split": "test"}).to_dicts()
    stored |= {(best, *(row[name] for name in CELL[1:])): row["value"] for row in tested}
    found = {tuple(row[:-1]): row[-1] for row in scores[[*CELL, "value"]].itertuples(index=False, name=None)}
    apart = {cell: _apart(stored[cell], found[cell]) for cell in stored if cell in found}
    largest = max(apart, key=lambda cell: apart[cell], default=())
    return Repeated(
        compared=len(apart),
        different=sum(value > 0 for value in apart.values()),
        largest=apart.get(largest, 0.0),
        where=largest,
        missing=tuple(sorted(stored.keys() ^ found.keys(), key=str)),
    )


def _apart(stored: float | None, found: float) -> float:
    """Absolute difference; undefined scores are stored as none, and are equal."""
    if stored is None or not math.isfinite(found):
        return 0.0 if stored is None and not math.isfinite(found) else math.inf
    return abs(stored - found)
