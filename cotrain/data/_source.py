"""Sources: the stimuli of one session of one task in one split, and `Data`, all of them joined and checked."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cotrain.data._image_facts import ImageFacts
from cotrain.data._image_rows import ImageRows, Images, MappedImages, image_facts, moved, taken
from cotrain.errors import DataError, did_you_mean
from cotrain.tasks import SPLITS, DataInfo, Kind, SessionInfo, TaskInfo, check_name

log = logging.getLogger(__name__)

Splits = Mapping[str, Mapping[str, Mapping[str, "Source"]]]
"""{split: {task: {session: source}}}; tasks without sessions have one that is called ""."""


Facts = Mapping[tuple[str, str, str], ImageFacts]
"""{(split, task, session): what is known of its images}."""


@dataclass(frozen=True)
class Source:
    """Stimuli with what is to be learnt about them.

    Args:
        kind: The task's kind, which says what the targets are.
        images: uint8 (stimuli, channels, height, width), in memory or read when a batch needs them.
        targets: classification and manifolds: int64 (stimuli,); neural: float32 (stimuli, neurons), mean over repeats,
            NaN where a neuron was not recorded; rdm: float32 (stimuli, stimuli), dissimilarities; or among `groups`.
        class_names: Of a classification, or of manifolds.
        groups: Of an rdm task whose RDM is among the mean representations of groups of stimuli: int64 (stimuli,), for
            each stimulus the row of `targets`, which is float32 (groups, groups) then. It stays on the CPU.
        repeats: Of a neural task, where known: float32 (stimuli, repeats, neurons) in the units of the targets, NaN
            where a repeat is missing.
        unit: Of a neural task's targets.
        neuron_metadata: Of a neural task: {name: one value a neuron}, for example "area" or "depth".
    """

    kind: Kind
    images: Images
    targets: Tensor
    class_names: tuple[str, ...] = ()
    groups: Tensor | None = None
    repeats: Tensor | None = None
    unit: str = ""
    neuron_metadata: Mapping[str, tuple[str, ...] | tuple[float, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images and targets of some stimuli; for an RDM the dissimilarities among them, or among their groups.

        The index may be on the CPU wherever the images are, and should be for an RDM among groups.

        Raises:
            DataError: The RDM is among groups, and the stimuli are not ordered by group, as many of each.
        """
        # of a tensor, index_select copies whole images; indexing would copy pixel by pixel
        placed = index.to(self.images.device)
        images = self.images[placed] if isinstance(self.images, ImageRows) else self.images.index_select(0, placed)
        return images, self.targets_of(index if self.groups is not None else placed)

    def targets_of(self, index: Tensor) -> Tensor:
        """The targets of some stimuli, as `batch` gives them, without their images."""
        rows = index.to(self.images.device)
        if self.groups is not None:
            rows = _groups_in_order(self.groups[index.cpu()]).to(self.targets.device)
        targets = self.targets[rows]
        return targets[:, rows] if self.kind == "rdm" else targets

    def subset(self, index: Tensor) -> Source:
        """The same for some stimuli only; an RDM among groups stays one among all of them."""
        images = taken(self.images, index)
        if self.groups is not None:
            return replace(self, images=images, groups=self.groups[index])
        targets = self.targets[index]
        return replace(
            self,
            images=images,
            targets=targets[:, index] if self.kind == "rdm" else targets,
            repeats=None if self.repeats is None else self.repeats[index],
        )

    def to(self, device: torch.device, stacks: dict[int, MappedImages] | None = None) -> Source:
        """Images and targets on another device; sources that are given one `stacks` share there what they share."""
        images = moved(self.images, device, {} if stacks is None else stacks)
        return replace(self, images=images, targets=self.targets.to(device))


@dataclass(frozen=True)
class Data:
    """Every source of every split, and what a model builder needs to know of them."""

    splits: Splits
    info: DataInfo


def assemble(splits: Splits) -> Data:
    """Check all sources at the door and derive the info, statistics from the training split alone.

    Raises:
        DataError: Something is missing or does not fit, or one image stands in two splits; says which.
    """
    _check_layout(splits)
    for split, task, session, source in walk(splits):
        _check_source(source, f"{split}/{task}" + (f"/{session}" if session else ""))
    # found once: each is a pass over all pixels
    facts = {(split, task, session): image_facts(source.images) for split, task, session, source in walk(splits)}
    _check_splits_disjoint(facts)
    tasks = {task: _task_info(splits, task, facts) for task in splits["train"]}
    return Data(splits, DataInfo(tasks, _fingerprint(splits, facts)))


def join(parts: list[Data]) -> Data:
    """One `Data` of several. A neural task that stands in several parts has the sessions of all.

    Raises:
        DataError: Two parts hold the same session of the same task, or do not fit together.
    """
    splits: dict[str, dict[str, dict[str, Source]]] = {split: {} for split in SPLITS}
    for part in parts:
        for split, task, session, source in walk(part.splits):
            held = splits[split].setdefault(task, {})
            if session in held:
                where = f"{task!r}" + (f", session {session!r}" if session else "")
                raise DataError(f"Two parts hold the task {where}. Rename one.")
            held[session] = source
    return assemble(splits)


def require_tasks(data: Data, tasks: Iterable[str]) -> None:
    """Refuse tasks that the data lack.

    Raises:
        DataError: Names one, and those like it.
    """
    for task in tasks:
        if task not in data.info.tasks:
            raise DataError(f"The data have no task {task!r}.{did_you_mean(task, list(data.info.tasks))}")


def walk(splits: Splits) -> Iterator[tuple[str, str, str, Source]]:
    """Yield (split, task, session, source): splits in the order of `SPLITS`, tasks and sessions in that of the data."""
    for split in SPLITS:
        for task, sessions in splits[split].items():
            for session, source in sessions.items():
                yield split, task, session, source


def _check_layout(splits: Splits) -> None:
    if set(splits) != set(SPLITS):
        raise DataError(f"Expected the splits {', '.join(SPLITS)}, found {', '.join(splits) or 'none'}.")
    for split, tasks in splits.items():
        for task, held in tasks.items():
            if not held:
                raise DataError(f"{split}/{task}: the task has no session.")
    places = {split: {(task, session) for task, held in splits[split].items() for session in held} for split in SPLITS}
    if not places["train"]:
        raise DataError("The data hold no task.")
    for split in SPLITS[1:]:
        for task, session in places["train"] ^ places[split]:
            have, lack = ("train", split) if (task, session) in places["train"] else (split, "train")
            where = f"{task!r}" + (f", session {session!r}" if session else "")
            raise DataError(f"The split {lack!r} lacks the task {where}, which {have!r} has.")
    for task, sessions in splits["train"].items():
        check_name(task, "Task")
        for session in sessions:
            if session or len(sessions) > 1:
                check_name(session, f"Session of task {task!r},")
        sources = [source for held in splits.values() for source in held[task].values()]
        for what, values in (
            ("kind", {s.kind for s in sources}),
            ("image shape", {tuple(s.images.shape[1:]) for s in sources}),
            ("classes", {s.class_names for s in sources}),
            ("rows of RDMs", {"stimuli" if s.groups is None else "groups" for s in sources}),
        ):
            if len(values) > 1:
                raise DataError(f"Task {task!r}: all sessions and splits need the same {what}, found {sorted(values)}.")


def _check_source(source: Source, where: str) -> None:
    images, targets, kind = source.images, source.targets, source.kind
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(
            f"{where}: images must be uint8 (stimuli, 1 or 3, height, width), "
            f"found {images.dtype} {tuple(images.shape)}."
        )
    if len(images) == 0:
        raise DataError(f"{where}: this split is empty. Give it a larger share, or more stimuli.")
    if source.groups is not None:
        _check_groups(source, source.groups, where)
    elif len(targets) != len(images):
        raise DataError(f"{where}: {len(images)} images but {len(targets)} targets. Each image needs one.")
    if kind in ("classification", "manifolds"):
        if targets.dtype != torch.int64 or targets.ndim != 1:
            raise DataError(f"{where}: labels must be int64 (stimuli,), found {targets.dtype} {tuple(targets.shape)}.")
        low, high, classes = int(targets.min()), int(targets.max()), len(source.class_names)
        if low < 0 or high >= classes:
            raise DataError(f"{where}: labels must lie in 0..{classes - 1} ({classes} classes), found {low}..{high}.")
    elif targets.dtype != torch.float32 or targets.ndim != 2 or targets.shape[1] == 0:
        found = f"{targets.dtype} {tuple(targets.shape)}"
        raise DataError(f"{where}: targets must be float32 with two axes, found {found}.")
    elif torch.isinf(targets).any():
        raise DataError(f"{where}: targets hold infinite values.")
    elif kind == "neural":
        silent = torch.isnan(targets).all(0).nonzero().flatten().tolist()
        if silent:
            raise DataError(f"{where}: no response at all (only NaN) of neurons {silent[:10]}. Leave them out.")
        trials = source.repeats
        if trials is not None and (
            trials.dtype != torch.float32 or trials.ndim != 3 or (len(trials), trials.shape[2]) != targets.shape
        ):
            raise DataError(
                f"{where}: repeats must be float32 (stimuli, repeats, neurons) as the targets {tuple(targets.shape)}, "
                f"found {trials.dtype} {tuple(trials.shape)}."
            )
    elif targets.shape[0] != targets.shape[1] or len(targets) < 3:
        raise DataError(
            f"{where}: an RDM needs as many columns as rows, at least 3 "
            f"{'stimuli in each split' if source.groups is None else 'groups'}; found {tuple(targets.shape)}."
        )
    elif torch.isnan(targets).any() or not torch.allclose(targets, targets.T, atol=1e-5):
        raise DataError(f"{where}: an RDM must be symmetric and free of NaN.")


def _check_groups(source: Source, groups: Tensor, where: str) -> None:
    if source.kind != "rdm":
        raise DataError(f"{where}: only an RDM can be one among groups; this task is of kind {source.kind}.")
    if groups.dtype != torch.int64 or groups.shape != (len(source),):
        raise DataError(
            f"{where}: groups must be int64, one for each of {len(source)} images; "
            f"found {groups.dtype} {tuple(groups.shape)}."
        )
    low, high, rows = int(groups.min()), int(groups.max()), len(source.targets)
    if low < 0 or high >= rows:
        raise DataError(f"{where}: groups must lie in 0..{rows - 1} (rows of the RDM), found {low}..{high}.")
    if empty := (groups.bincount(minlength=rows) == 0).nonzero().flatten().tolist():
        raise DataError(
            f"{where}: no stimulus of the groups {empty[:10]} (rows of the RDM). Every group needs stimuli in every "
            "split: give this one a larger share, or leave these groups out."
        )


def _groups_in_order(groups: Tensor) -> Tensor:
    """The groups of a batch, each once."""
    found: Tensor
    found, counts = groups.unique_consecutive(return_counts=True)
    if len(found.unique()) < len(found) or len(counts.unique()) > 1:
        raise DataError(
            "A batch for an RDM among groups holds its stimuli group by group, as many of each; found the groups "
            f"{found[:10].tolist()} with {counts[:10].tolist()} stimuli. Use `MixingConfig.balanced`."
        )
    return found


def _check_splits_disjoint(facts: Facts) -> None:
    """By pixel content, not by row: real sets hold the same picture twice."""
    seen: dict[bytes, tuple[str, str, int]] = {}
    for (split, task, session), found in facts.items():
        where = f"{task}/{session}" if session else task
        for row, digest in enumerate(found.digests):
            other = seen.setdefault(digest.tobytes(), (split, where, row))
            if other[0] != split:
                raise DataError(
                    f"One image stands in two splits: {other[0]} ({other[1]}, row {other[2]}) and {split} ({where}, "
                    f"row {row}). Split by image content: scores on it would be those of a training image. (Parts "
                    "that hold the same images draw the same split only from the same groups and strata: read them "
                    "as tasks of one data set.)"
                )


def _fingerprint(splits: Splits, facts: Facts) -> str:
    total = hashlib.blake2b(digest_size=16)
    for split, task, session, source in walk(splits):
        # equal digests have equal pixels and shapes
        total.update(f"{split}/{task}/{session}/{tuple(source.targets.shape)}/{source.class_names}".encode())
        total.update(facts[split, task, session].digests.tobytes())
        total.update(source.targets.contiguous().cpu().numpy().tobytes())
        if source.repeats is not None:
            total.update(source.repeats.contiguous().cpu().numpy().tobytes())
        if source.groups is not None:
            total.update(source.groups.contiguous().cpu().numpy().tobytes())
    return total.hexdigest()


def _task_info(splits: Splits, task: str, facts: Facts) -> TaskInfo:
    train = splits["train"][task]
    first = next(iter(train.values()))
    _, channels, height, width = first.images.shape
    pixels = sum(len(s) for s in train.values()) * height * width
    # whole numbers up to here, so the order of images does not matter
    sums = torch.from_numpy(sum(facts["train", task, name].sums.sum(0) for name in train)).double()
    mean = sums[:, 0] / pixels / 255
    std = (sums[:, 1] / pixels / 255**2 - mean.square()).clamp_min(0).sqrt()
    if (std < 1e-6).any():
        raise DataError(f"Task {task!r}: all training images are of one brightness; there is nothing to see.")
    sessions = {}
    for name, source in train.items():
        neural = source.kind == "neural"
        sessions[name] = SessionInfo(
            neurons=source.targets.shape[1] if neural else 0,
            mean_response=tuple(torch.nanmean(source.targets.double(), 0).tolist()) if neural else (),
            lowest_response=float(source.targets[~torch.isnan(source.targets)].min()) if neural else 0.0,
            std_response=tuple(_spread(source.targets).tolist()) if neural else (),
            unit=source.unit,
            neuron_metadata=dict(source.neuron_metadata),
            stimuli={split: len(splits[split][task][name]) for split in SPLITS},
        )
        for split in SPLITS:
            other, is_fixed = splits[split][task][name], neural or source.groups is not None
            if is_fixed and other.targets.shape[1:] != source.targets.shape[1:]:
                where = f"{split}/{task}/{name}" if name else f"{split}/{task}"
                raise DataError(f"{where}: another number of {'neurons' if neural else 'groups'} than in training.")
    return TaskInfo(
        kind=first.kind,
        image_shape=(channels, height, width),
        image_mean=tuple(mean.tolist()),
        image_std=tuple(std.tolist()),
        class_names=first.class_names,
        sessions=sessions,
    )


def _spread(targets: Tensor) -> Tensor:
    """Standard deviation over stimuli, one a neuron, in float64; NaN is left out."""
    known = targets.double()
    return (known - known.nanmean(0)).square().nanmean(0).sqrt()
