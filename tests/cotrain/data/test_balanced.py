"""Balanced batches hold as many stimuli of each group, in turn, and are a function of the seed and their number."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.data import MicroStep, MixingConfig, MixingLoader, Source
from cotrain.errors import ConfigError, DataError

FEW = settings(max_examples=40, deadline=None)


def pictures(count: int) -> torch.Tensor:
    """The first pixels of an image are its row."""
    images = torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count) % 256
    return images


def labelled(kind: str, labels, seed: int = 0) -> Source:
    """A task of any kind whose groups are the labels."""
    labels = torch.as_tensor(labels, dtype=torch.int64)
    if kind == "rdm":
        count = int(labels.max()) + 1
        matrix = torch.rand(count, count, generator=torch.Generator().manual_seed(seed))
        return Source(kind, pictures(len(labels)), (matrix + matrix.T).fill_diagonal_(0), groups=labels)
    return Source(kind, pictures(len(labels)), labels, class_names=tuple(str(n) for n in range(int(labels.max()) + 1)))


def loader(source: Source, batch_size: int, each: int, *, seed=0, rank=0, world_size=1) -> MixingLoader:
    mixing = MixingConfig(main="it", batch_size=batch_size, balanced=(("it", each),))
    return MixingLoader({"it": {"": source}}, mixing, seed=seed, rank=rank, world_size=world_size)


def indices(made: MixingLoader, numbers) -> list[torch.Tensor]:
    return [made.indices(MicroStep("it", "", number, step_ends=True)) for number in numbers]


@st.composite
def cases(draw):
    """Labels of 4 groups or more in any order, stimuli of each, groups of a batch."""
    sizes = draw(st.lists(st.integers(3, 6), min_size=4, max_size=9))
    labels = draw(st.permutations([group for group, size in enumerate(sizes) for _ in range(size)]))
    return torch.tensor(labels), draw(st.integers(1, 3)), draw(st.integers(3, len(sizes) + 2)), draw(st.integers(0, 99))


@FEW
@given(cases(), st.sampled_from(["classification", "rdm"]))
def test_groups_come_equally_often_and_no_stimulus_twice_in_a_batch(case, kind):
    labels, each, wanted, seed = case
    count = int(labels.max()) + 1
    groups = min(wanted, count)  # all, where there are fewer than the batch has room for
    made = loader(labelled(kind, labels), wanted * each, each, seed=seed)
    batches = indices(made, range(count * 6))  # a whole number of rounds
    turns: Counter[int] = Counter()
    for number, index in enumerate(batches, 1):
        blocks = labels[index].view(groups, each)
        assert (blocks == blocks[:, :1]).all()  # ordered by group
        assert len(set(blocks[:, 0].tolist())) == groups
        assert len(set(index.tolist())) == len(index) == groups * each
        turns.update(blocks[:, 0].tolist())
        # a group waits for two rounds at most, so none falls back
        assert max(turns.values()) - min(turns[group] for group in range(count)) <= 2, number
    assert set(turns.values()) == {groups * 6}


def test_every_stimulus_comes_and_pairs_of_groups_vary():
    labels = torch.arange(60) % 10
    made = loader(labelled("classification", labels), 8, 2)
    seen = indices(made, range(300))
    assert set(torch.cat(seen).tolist()) == set(range(60))
    per_stimulus = torch.cat(seen).bincount()  # 40 on average
    assert per_stimulus.min() > 15 and per_stimulus.max() < 75
    met = {frozenset(pair) for index in seen for pair in itertools.combinations(set(labels[index].tolist()), 2)}
    assert len(met) == 45


@FEW
@given(cases(), st.lists(st.integers(0, 500), min_size=1, max_size=8))
def test_a_batch_depends_on_its_number_and_the_seed_alone(case, numbers):
    labels, each, wanted, seed = case
    source = labelled("classification", labels)
    together = loader(source, wanted * each, each, seed=seed)
    for number, index in zip(numbers, indices(together, numbers), strict=True):
        (alone,) = indices(loader(source, wanted * each, each, seed=seed), [number])
        assert torch.equal(alone, index)


def test_the_seed_and_the_number_decide():
    source = labelled("classification", torch.arange(80) % 8)
    rows = {str(indices(loader(source, 12, 3, seed=seed), [n])[0].tolist()) for seed in (0, 1) for n in (0, 1, 2)}
    assert len(rows) == 6


@FEW
@given(cases(), st.integers(1, 3))
def test_ranks_share_whole_groups(case, world_size):
    labels, each, wanted, seed = case
    source = labelled("classification", labels)
    groups = min(wanted, int(labels.max()) + 1) // world_size * world_size
    (alone,) = indices(loader(source, groups * each, each, seed=seed), [5])
    shares = [
        indices(loader(source, wanted * each, each, seed=seed, rank=rank, world_size=world_size), [5])[0]
        for rank in range(world_size)
    ]
    for share in shares:
        assert (labels[share].view(-1, each) == labels[share].view(-1, each)[:, :1]).all()
    assert {len(share) for share in shares} == {groups // world_size * each}
    assert sorted(torch.cat(shares).tolist()) == sorted(alone.tolist())


def test_targets_are_among_the_groups_in_the_order_in_which_they_come():
    labels = torch.arange(24) % 4
    source = labelled("rdm", labels)
    for batch in loader(source, 6, 2):
        rows = batch.images[:, 0, 0, 0].long()
        order = labels[rows][::2]
        np.testing.assert_array_equal(batch.targets, source.targets.numpy()[np.ix_(order, order)])
        assert batch.targets.shape == (3, 3)


def test_a_pass_is_as_many_batches_as_the_stimuli_fill():
    made = loader(labelled("classification", torch.arange(50) % 5), 20, 2)
    assert made.schedule.batch_size["it", ""] == 10  # there are 5 groups
    assert len(list(made)) == 5


def test_labels_that_training_lacks_are_no_groups():
    source = labelled("classification", torch.tensor([0, 0, 4, 4, 4, 2, 2, 2]))
    (index,) = indices(loader(source, 6, 2), [0])
    assert sorted(source.targets[index].tolist()) == [0, 0, 2, 2, 4, 4]


@pytest.mark.parametrize("taken", [0, 3, 7, 12])
def test_a_restored_loader_goes_on_in_mid_epoch(taken):
    def made() -> MixingLoader:
        sources = {
            "objects": {"": labelled("classification", torch.arange(30) % 5)},
            "it": {session: labelled("rdm", torch.arange(24) % 6, place) for place, session in enumerate("ab")},
        }
        mixing = MixingConfig(
            main="objects", ratios=((1, (("it", 1.5),)),), batch_size=8, balanced=(("it", 2), ("objects", 4))
        )
        return MixingLoader(sources, mixing, seed=3)

    def seen(batches) -> list[tuple]:
        return [(b.task, b.session, b.images.flatten().tolist(), b.targets.tolist()) for b in batches]

    whole = [batch for one in [made()] for _ in range(4) for batch in seen(one)]
    first, again = made(), made()
    assert seen(itertools.islice(itertools.chain(first, first), taken)) == whole[:taken]
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = [batch for _ in range(2) for batch in seen(again)]
    assert rest == whole[taken : taken + len(rest)]


def test_other_tasks_keep_their_batches():
    sources = {
        "objects": {"": labelled("classification", torch.arange(30) % 5)},
        "v1": {"": Source("neural", pictures(20), torch.arange(20.0)[:, None])},
    }
    plain = MixingConfig(main="v1", ratios=((1, (("objects", 1.0),)),), batch_size=4)
    step = MicroStep("v1", "", 3, step_ends=True)
    alone, beside = (
        MixingLoader(sources, mixing, seed=0).indices(step)
        for mixing in (plain, plain.replace(balanced=(("objects", 2),)))
    )
    assert torch.equal(alone, beside)


FIVE = torch.arange(25) % 5


@pytest.mark.parametrize(
    ("source", "mixing", "world_size", "text"),
    [
        (
            labelled("rdm", FIVE),
            {},
            1,
            r"'it' is one of an RDM among groups: .* Write balanced=\(\('it', 4\),\) in the mixing",
        ),
        (
            labelled("manifolds", FIVE),
            {},
            1,
            r"'it' is one of class manifolds: its batches need .*balanced=\(\('it', 4",
        ),
        (labelled("manifolds", FIVE), {"balanced": (("it", 1),)}, 1, "a single stimulus is no manifold; give 'it' 2"),
        (
            Source("neural", pictures(9), torch.ones(9, 2)),
            {"balanced": (("it", 2),)},
            1,
            "balanced names the task 'it' of kind neural, which has no groups of stimuli",
        ),
        (
            Source("rdm", pictures(9), torch.zeros(9, 9)),
            {"balanced": (("it", 2),)},
            1,
            "balanced names the task 'it' of kind rdm, which has no groups of stimuli",
        ),
        (
            Source("classification", pictures(5), torch.tensor([0, 0, 0, 1, 1]), class_names=("ape", "bee")),
            {"balanced": (("it", 3),), "batch_size": 6},
            1,
            r"it: balanced asks for 3 stimuli of each group, but the class 'bee' has 2 for training\. Ask",
        ),
        (
            labelled("rdm", torch.tensor([0, 0, 1, 2, 2])),
            {"balanced": (("it", 2),)},
            1,
            "but the group 1 has 1 for training. Ask for at most 1",
        ),
        (
            labelled("rdm", FIVE),
            {"balanced": (("it", 3),)},
            1,
            r"balanced: 3 stimuli of each group do not fill the batch of 64 of 'it'\. .* multiple of 3 .* example 63",
        ),
        (
            labelled("rdm", FIVE),
            {"balanced": (("it", 4), ("it", 2))},
            1,
            r"balanced: name each task once, found \['it'",
        ),
        (
            labelled("rdm", FIVE),
            {"balanced": (("it", 4), ("itt", 2))},
            1,
            r"mixing names the task 'itt', which the data lack\. Did you mean 'it'\?",
        ),
        (
            labelled("rdm", FIVE),
            {"balanced": (("it", 4),), "batch_size": 8},
            1,
            "it: 2 groups a batch and rank make no RDM; 3 or more do",
        ),
        (labelled("rdm", FIVE), {"balanced": (("it", 4),)}, 2, "it: 2 groups a batch and rank make no RDM"),
        (
            labelled("manifolds", FIVE),
            {"balanced": (("it", 4),)},
            4,
            "it: 1 class a batch and rank leaves nothing to separate",
        ),
        (
            labelled("rdm", FIVE),
            {"balanced": (("it", 4),)},
            6,
            "it: 6 ranks cannot share a batch of 64, 4 of each group; the session has 25 stimuli",
        ),
    ],
)
def test_wrong_mixing_is_refused(source, mixing, world_size, text):
    with pytest.raises(DataError, match=text):
        MixingLoader({"it": {"": source}}, MixingConfig(main="it", **mixing), seed=0, world_size=world_size)


def test_groups_of_no_stimuli_are_refused():
    with pytest.raises(ConfigError, match=r"balanced\.0\.1: input should be greater than or equal to 1"):
        MixingConfig(main="it", balanced=(("it", 0),))
