"""Threads that read batches ahead change nothing: same batches, same place to go on from, errors as they are."""

from __future__ import annotations

import itertools
import threading

import pytest
import torch

from cotrain.data import ImageRows, MixingConfig, MixingLoader, Source
from cotrain.data._image_rows import MappedImages
from cotrain.errors import DataError

CONFIG = MixingConfig(main="objects", ratios=((1, (("v1", 1.5), ("it", "1/3"))),), batch_size=4)


def sources(stack=MappedImages) -> dict[str, dict[str, Source]]:
    """Every pixel of image n is n, and so is its target."""

    def source(kind, count, targets) -> Source:
        pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
        return Source(kind, ImageRows(stack(pixels), torch.arange(count)), targets, class_names=("a", "b") * 20)

    return {
        "objects": {"": source("classification", 23, torch.arange(23))},
        "v1": {name: source("neural", n, torch.arange(n).float()[:, None]) for name, n in (("a", 9), ("b", 6))},
        "it": {"": source("rdm", 7, torch.cdist(torch.arange(7.0)[:, None], torch.arange(7.0)[:, None]))},
    }


def loader(workers, seed=0, stack=MappedImages) -> MixingLoader:
    return MixingLoader(sources(stack), CONFIG, seed=seed, workers=workers)


def as_values(batch) -> tuple:
    return batch.task, batch.session, batch.images.tolist(), batch.targets.tolist(), batch.step_ends


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_any_number_of_workers_gives_the_same_batches(workers):
    alone, helped = loader(0), loader(workers)
    for _ in range(3):
        assert [as_values(b) for b in alone] == [as_values(b) for b in helped]
    assert alone.state_dict() == helped.state_dict() == {"epoch": 4, "micro_step": 0}


def test_other_seeds_have_other_orders():
    assert [as_values(b) for b in loader(2, seed=0)] != [as_values(b) for b in loader(2, seed=1)]


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_what_was_read_ahead_is_not_counted_as_seen(stop):
    whole = [as_values(b) for b in loader(0)]
    stopped = loader(3)
    taken = iter(stopped)
    seen = [as_values(next(taken)) for _ in range(stop)]
    state = stopped.state_dict()
    taken.close()
    assert state == {"epoch": 1, "micro_step": stop} and len(stopped) == len(whole) - stop
    resumed = loader(3)
    resumed.load_state_dict(state)
    assert seen + [as_values(b) for b in resumed] == whole


def test_an_unreadable_image_stops_with_its_error_and_threads_end():
    reads = itertools.count()

    class Torn(MappedImages):
        def read(self, rows):
            if next(reads) == 5:
                raise DataError("picture 17 cannot be read")
            return super().read(rows)

    before = threading.active_count()
    with pytest.raises(DataError, match="picture 17 cannot be read"):
        list(loader(2, stack=Torn))
    assert threading.active_count() == before


def test_images_are_read_by_the_threads():
    names = set()

    class Noted(MappedImages):
        def read(self, rows):
            names.add(threading.current_thread().name)
            return super().read(rows)

    list(loader(2, stack=Noted))
    assert names and all(name.startswith("cotrain-data") for name in names)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_lie_in_pinned_memory():
    held = MixingLoader(sources(), CONFIG, seed=0, workers=2, pin_memory=True)
    assert all(batch.images.is_pinned() and batch.targets.is_pinned() for batch in held)
