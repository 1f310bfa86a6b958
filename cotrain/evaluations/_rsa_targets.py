"""What layers are compared with: RDMs of a run's tasks and of files, and those of responses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotrain.analysis import Rdm, crossvalidated_rdm, rdm
from cotrain.data import Data, Images, Source, image_facts
from cotrain.errors import CotrainError, DataError
from cotrain.evaluations._layer_features import task_shown
from cotrain.evaluations._robustness import first_images
from cotrain.evaluations._stimulus_file import StimulusFileConfig, read_stimuli, require_own_names
from cotrain.models import MultiTaskModel
from cotrain.seeds import derive_seed

log = logging.getLogger(__name__)

Responses = Literal["same", "crossnobis"]
MOST_STIMULI = 5000  # 0.2 GB for each RDM


@dataclass(frozen=True)
class Target:
    """RDMs of one or several subjects among the same stimuli, or responses that they are made of.

    Args:
        name: A task, or a file's name.
        session: "" of tasks without any, of all sessions together, and of files.
        images: What is shown to the model.
        shown_as: The model's task whose normalisation images have.
        matrices: float64 distances (subjects, rows, rows); None where they are made of responses.
        responses: float64 (stimuli, repeats, neurons) of each subject; NaN where a repeat is missing.
        groups: The row of each stimulus, where rows are groups of stimuli.
        labels: Of the stimuli, for pictures; None: not known.
    """

    name: str
    session: str
    images: Images
    shown_as: str
    matrices: Tensor | None = None
    responses: tuple[Tensor, ...] = ()
    groups: Tensor | None = None
    labels: NDArray[np.str_] | None = None

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.name}/{self.session}" if self.session else self.name

    def rdms(self, dissimilarity: str, responses: Responses = "same") -> Tensor:
        """float64 (subjects, rows, rows).

        Args:
            dissimilarity: Of responses, in which the model's are compared.
            responses: "crossnobis": of responses that instead.
        """
        if self.matrices is not None:
            return self.matrices
        return torch.stack([_of_responses(trials, dissimilarity, responses) for trials in self.responses])

    def halves(self, dissimilarity: str, halvings: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """RDMs of the means of two random halves of the repeats; none without two repeats of each stimulus.

        Of an odd number of repeats one, drawn anew each time, is left out.
        """
        if len(self.responses) != 1:
            return
        trials = self.responses[0]
        known = ~trials.isnan().any(2)
        each = known.sum(1) // 2
        if int(each.min()) < 1:
            return
        generator = torch.Generator().manual_seed(derive_seed(seed, "split", "rsa_halves"))
        place = torch.arange(trials.shape[1])
        for _ in range(halvings):
            order = torch.rand(known.shape, generator=generator).masked_fill(~known, torch.inf).argsort(1)
            shuffled = trials.gather(1, order[..., None].expand_as(trials))
            chosen = (place < each[:, None], (place >= each[:, None]) & (place < 2 * each[:, None]))
            means = [torch.where(part[..., None], shuffled, 0).sum(1) / each[:, None] for part in chosen]
            yield rdm(means[0], dissimilarity), rdm(means[1], dissimilarity)

    def grouped(self, features: Tensor) -> Tensor:
        """Features of the rows: of stimuli as they are, of groups their means."""
        if self.groups is None:
            return features
        sums = features.new_zeros(int(self.groups.max()) + 1, features.shape[1])
        return sums.index_add(0, self.groups, features) / self.groups.bincount()[:, None]


def targets_of(
    model: MultiTaskModel,
    data: Data,
    *,
    tasks: Sequence[str],
    split: str,
    images: int | None,
    files: Sequence[StimulusFileConfig],
    shown_as: str,
    responses: Responses = "same",
) -> Iterator[Target]:
    """The targets of a run, in the order of its data, then files.

    Of a task with several sessions that show the same images, in any order, these are subjects of one more target,
    whose session is "". Neurons without a response to one of the stimuli are left out. A session is left out, which is
    logged, where it has fewer than 3 stimuli or 2 neurons, or no repeats for "crossnobis".

    Args:
        model: Whose tasks normalise images.
        data: The run's.
        tasks: Names of RDM and neural tasks, those of other names are left out; none: all.
        split: Of their stimuli.
        images: The first so many of each source.
        files: Further targets.
        shown_as: As for `task_shown`.
        responses: As for `Target.rdms`.

    Raises:
        DataError: There are too many stimuli, a matrix is no RDM, or a file is not as it says; two are of one name.
    """
    require_own_names(files, data, "targets")
    for task, sessions in data.splits[split].items():
        kind = data.info.tasks[task].kind
        if kind not in ("rdm", "neural") or (tasks and task not in tasks):
            continue
        shown = task_shown(model, task, shown_as)
        held = [_of_source(task, name, first_images(source, images), shown) for name, source in sessions.items()]
        if len(held) > 1 and (joined := _joined(held)) is not None:
            held.append(joined)
        yield from (target for target in held if _is_fit(target, responses))
    for file in files:
        target = _of_file(file, model, data, images, shown_as)
        if _is_fit(target, responses):
            yield target


def _of_source(task: str, session: str, source: Source, shown_as: str) -> Target:
    target = Target(task, session, source.images, shown_as)
    if source.kind == "rdm":
        where = f"The RDM of {target.where}"
        return replace(target, matrices=_distances(source.targets.cpu().double()[None], where), groups=source.groups)
    means = source.targets.cpu().double()
    trials = means[:, None] if source.repeats is None else source.repeats.cpu().double()
    return replace(target, responses=(_recorded(trials, target.where),))


def _of_file(file: StimulusFileConfig, model: MultiTaskModel, data: Data, images: int | None, shown_as: str) -> Target:
    if bool(file.rdm) == bool(file.responses):
        raise DataError(f"The file {file.name!r}: name its array of RDMs or that of responses, `rdm` or `responses`.")
    shown = task_shown(model, "", shown_as)
    held = read_stimuli(file, data.info.tasks[shown].image_shape)
    rows = slice(None if images is None else images)
    labels = None if held.labels is None else held.labels[rows]
    target = Target(file.name, "", held.images[rows], shown, labels=labels)
    if held.responses is not None:
        return replace(target, responses=(_recorded(held.responses[rows], file.name),))
    assert held.rdms is not None
    where = f"{file.path}, {file.rdm!r} (the config says that it holds: {file.holds})"
    return replace(target, matrices=_distances(held.rdms, where, file.holds)[:, rows, rows])


def _distances(matrices: Tensor, where: str, kind: Literal["distance", "similarity"] = "distance") -> Tensor:
    """Distances, exactly symmetric and 0 on the diagonal."""
    try:
        tagged = torch.as_tensor(Rdm(matrices, kind=kind).distances().values)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    held = (tagged + tagged.transpose(1, 2)) / 2
    return held.masked_fill(torch.eye(held.shape[-1], dtype=torch.bool), 0)


def _recorded(trials: Tensor, where: str) -> Tensor:
    """Without neurons that some stimulus has no response of."""
    missing = trials.isnan().all(1).any(0)
    if bool(missing.any()):
        log.warning("%s: %d of %d neurons lack stimuli and are left out.", where, int(missing.sum()), len(missing))
    return trials[..., ~missing]


def _joined(held: list[Target]) -> Target | None:
    """Sessions as subjects, if they show the same images, each once."""
    first = held[0]
    digests = [[row.tobytes() for row in image_facts(target.images).digests] for target in held]
    if first.groups is not None or any(sorted(set(found)) != sorted(digests[0]) for found in digests):
        return None
    matrices, responses = [], []
    for target, found in zip(held, digests, strict=True):
        place = {digest: row for row, digest in enumerate(found)}
        rows = torch.tensor([place[digest] for digest in digests[0]])
        if target.matrices is not None:
            matrices.append(target.matrices[:, rows[:, None], rows])
        responses += [trials[rows] for trials in target.responses]
    together = replace(first, session="", responses=tuple(responses))
    return replace(together, matrices=torch.cat(matrices)) if matrices else together


def _is_fit(target: Target, responses: Responses) -> bool:
    rows = len(target.images) if target.matrices is None else target.matrices.shape[-1]
    if rows > MOST_STIMULI:
        raise DataError(
            f"{target.where} has {rows} stimuli, more than the {MOST_STIMULI} that RDMs are compared among. Say how "
            "many of them: `images`."
        )
    reason = ""
    if rows < 3:
        reason = f"it has {rows} stimuli"
    elif any(trials.shape[2] < 2 for trials in target.responses):
        reason = "fewer than 2 neurons have responses to all stimuli"
    elif responses == "crossnobis" and any(
        bool(((~trials.isnan().any(2)).sum(1) < 2).any()) for trials in target.responses
    ):
        reason = "some stimuli have fewer than 2 repeats, which crossnobis needs"
    if reason:
        log.warning("%s is no target of RDMs and is left out: %s.", target.where, reason)
    return not reason


def _of_responses(trials: Tensor, dissimilarity: str, responses: Responses) -> Tensor:
    if responses == "crossnobis":
        found: Tensor = crossvalidated_rdm(trials, "crossnobis", precision="diagonal")
    else:
        found = rdm(trials.nanmean(1), dissimilarity)
    return found


def chosen_target(targets: Sequence[Target], asked: str | None) -> Target:
    """The one target that is meant by "name" or "name/session"; without being asked for, the only one.

    Raises:
        CotrainError: There are none, several, or none of that name.
    """
    known = {target.where: target for target in targets}
    if not known:
        raise CotrainError("The run has no target: no RDM or neural task, and no file is given.")
    if asked is None and len(known) > 1:
        raise CotrainError(f"The run has several targets: {', '.join(known)}. Choose one by --target.")
    if asked is not None and asked not in known:
        raise CotrainError(f"The run has no target {asked!r}. It has: {', '.join(known)}.")
    return next(iter(known.values())) if asked is None else known[asked]
