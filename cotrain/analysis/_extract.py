"""Features of a network's layers for many images, in one pass and in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cotrain.analysis._feature_store import FeatureStore
from cotrain.analysis._layers import Layers, chosen_layers
from cotrain.analysis._memory_plan import Plan, passing_bytes, readable, require_fit
from cotrain.analysis._places import Place, Run, pass_through, try_out
from cotrain.analysis._reductions import Reduction, as_reduction
from cotrain.analysis._shown_images import Prepare, ShownImages
from cotrain.analysis._undisturbed import undisturbed
from cotrain.errors import ModelError, did_you_mean
from cotrain.models import MultiTaskModel

log = logging.getLogger(__name__)


def extract(
    model: nn.Module,
    images: Any,
    layers: Layers,
    *,
    reduce: Reduction | str | None = None,
    memory_budget: float | None = None,
    task: str = "",
    prepare: Prepare | None = None,
    batch: int = 32,
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str = "float32",
    spill: str | Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """What layers of a network answer to images, one matrix a layer.

    Images pass once, in evaluation mode and without gradients, no further than the last layer that is asked for. What a
    layer gives is reduced while the pass is there, so that memory holds the reduced features and one batch. The model
    is left as it was, also after an error: training flags, hooks, buffers, statistics of tasks, what its modules store.
    Layers that work in place change nothing that was taken before.

    Layers are named by module path ("layer2.0.conv1"). The second time that a pass uses a module is "relu#2", a part of
    what a module gives "lstm[0]" or "encoder[tokens]". `layers` is one or several of: a name; a pattern as in the shell
    ("layer?.*.conv2", where `*` stands for any text); "blocks", as `cotrain.models.resolve_tap` counts them; "leaves",
    modules without children; "all" modules but the network itself; "depth:0.5" or 0.5, the first block at which that
    share of all blocks is done. "leaves" and "all" leave out what hands on an earlier layer's tensor unchanged. A
    module that is itself called "blocks" is meant by the pattern "block[s]".

    Args:
        model: Any module that takes a batch of images; or a co-trained model, whose layers are those of its backbone.
        images: (stimuli, channels, height, width) as a tensor, `ImageRows` or an array; an array may be (stimuli,
            height, width[, 1 or 3]) as well. Any module gets floats as they are, and uint8 as floats in 0..1; a
            co-trained model normalises pixels (uint8, or floats in 0..1) itself.
        layers: See above.
        reduce: What is kept: None, all; `AveragePool()`, `SparseProjection()`, `GaussianProjection()`, `Pca()`,
            `Gram()`, or their names ("average_pool", ..., "pca", "gram").
        memory_budget: Bytes; refused before the run if features, what reductions need, and a batch's largest tensors
            come to more. Under it, `Pca` and `Gram` take as many passes as it needs to hold the layers one after the
            other.
        task: Of a co-trained model: whose normalisation of images and batch norm statistics are used. A model with one
            task needs none.
        prepare: What is done with each batch (floats in 0..1 where images are uint8) before the model sees it: scaling,
            normalisation.
        batch: Images that pass together. Reductions do not depend on it; the network's own rounding may, in the last
            bits.
        seed: Of random projections, which depend on it and on the layer's name alone.
        device: Where to compute; None: where the model is. On another one, a copy of the model computes.
        dtype: Of what is kept: "float32", "float16" or "float64".
        spill: An empty or new folder for features; each layer is a file `<layer>.npy` there, and results are mapped.
        progress: Whether a bar is shown.

    Returns:
        {layer: (stimuli, features)} in the order of a pass; tensors in main memory, or arrays where `images` is an
        array. Maps are flattened channels first.

    Raises:
        ModelError: There is no such layer, it has no features of each image, images do not pass, or the budget is too
            small; the error then names the largest layers and what would fit.
        DataError: Images are of the wrong kind or range, or files are there already.

    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> {layer: tuple(found.shape) for layer, found in extract(network, torch.rand(5, 1, 8, 8), ["0", "3"]).items()}
    {'0': (5, 144), '3': (5, 2)}
    """
    if batch < 1:
        raise ModelError(f"A batch holds one image or more, found batch={batch}.")
    reduction = as_reduction(reduce)
    looked_at = network_of(model, task, device)
    shown = ShownImages(
        images, device=looked_at.device, dtype=looked_at.dtype, keep_bytes=looked_at.normalises, prepare=prepare
    )
    store = FeatureStore(None if spill is None else Path(spill), dtype)
    off = torch.autocast(looked_at.device.type, enabled=False)
    with store, undisturbed(looked_at.whole), torch.no_grad(), off:
        trial = try_out(looked_at.layers, looked_at.run, shown.batch(0, 1))
        places = chosen_layers(looked_at.layers, trial, layers)
        plan = Plan(
            len(shown),
            store.dtype.itemsize,
            spill is not None,
            reduction.waits,
            passing_bytes(min(batch, len(shown)), trial.largest, list(places.values())),
            {name: reduction.cost(place.shape, len(shown)) for name, place in places.items()},
        )
        if memory_budget is not None:
            require_fit(plan, memory_budget, places, reduction, batch)
        store.require_free(list(places))
        groups = plan.groups(memory_budget)
        if len(groups) > 1:
            log.info("extract: %d passes, so that no more than %s is held.", len(groups), readable(memory_budget or 0))
        for number, names in enumerate(groups):
            text = "extract" if len(groups) == 1 else f"extract, pass {number + 1} of {len(groups)}"
            wanted = {name: places[name] for name in names}
            _fill(store, looked_at, shown, wanted, plan, reduction, batch, seed, text if progress else "")
        found = store.finished()
        found = {name: found[name] for name in places}
    return found if shown.as_arrays else {name: torch.from_numpy(value) for name, value in found.items()}


@dataclass(frozen=True)
class LookedAt:
    """What is looked at.

    Args:
        whole: That must not be disturbed.
        layers: Whose paths name layers.
        run: Passes images through.
        normalises: Whether it takes uint8 or floats in 0..1 alone.
    """

    whole: nn.Module
    layers: nn.Module
    run: Run
    normalises: bool
    device: torch.device
    dtype: torch.dtype


def network_of(model: nn.Module, task: str, device: str | torch.device | None) -> LookedAt:
    """What of a model is passed through, for images of a task, and where; None: where the model is.

    Raises:
        ModelError: A co-trained model has no such task, or several and none is named; or another model has none.
    """
    # what torch.compile wraps around a module knows nothing of hooks in it
    model = getattr(model, "_orig_mod", model)
    first = next(
        (held for held in (*model.parameters(), *model.buffers()) if held.is_floating_point()), torch.zeros(())
    )
    place = first.device if device is None else torch.device(device)
    if place.type != first.device.type or (place.index is not None and place != first.device):
        model = deepcopy(model).to(place)
    if not isinstance(model, MultiTaskModel):
        if task:
            raise ModelError(f"Only co-trained models have tasks, found task={task!r} for a {type(model).__name__}.")
        return LookedAt(model, model, model, False, place, first.dtype)
    tasks = list(model.taps)
    if not task and len(tasks) > 1:
        raise ModelError(f"The model has the tasks {', '.join(tasks)}: say as which one's its images are normalised.")
    name = task or tasks[0]
    if name not in tasks:
        raise ModelError(f"The model has no task {name!r}.{did_you_mean(name, tasks)}")
    shared = model
    return LookedAt(
        shared, shared.backbone, lambda images: shared.pass_backbone(images, name), True, place, first.dtype
    )


def _fill(
    store: FeatureStore,
    network: LookedAt,
    shown: ShownImages,
    wanted: Mapping[str, Place],
    plan: Plan,
    reduction: Reduction,
    batch: int,
    seed: int,
    text: str,
) -> None:
    """One pass of all images, and what comes after it."""
    takers, names = {}, dict[str, list[str]]()
    for name, place in wanted.items():
        cost = plan.costs[name]
        takers[name] = reduction.taker(place.shape, plan.stimuli, layer=place.name, seed=seed)
        store.begin(name, (plan.stimuli, cost.columns), temporary=reduction.waits)
        names.setdefault(place.name, []).append(name)
    starts: Sequence[int] = range(0, plan.stimuli, batch)
    for start in tqdm(starts, desc=text or None, disable=not text, leave=False):
        images = shown.batch(start, min(start + batch, plan.stimuli))

        def take(place: Place, values: Tensor, start: int = start) -> None:
            for name in names[place.name]:
                store.put(name, start, takers[name](values))

        with torch.inference_mode():
            pass_through(network.layers, network.run, images, list({p.name: p for p in wanted.values()}.values()), take)
    takers.clear()
    if reduction.waits:
        for name in wanted:
            store.replace(name, reduction.finish(store.tensor(name)))
