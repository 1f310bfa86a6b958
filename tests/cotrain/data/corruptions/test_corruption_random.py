"""Random numbers from a counter: those of a plain loop, of the right distributions, whatever else is in the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from cotrain.data.corruptions._random import ImageRandom
from cotrain.seeds import derive_seed

MASK = 2**64 - 1


def mixed(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def plain_bits(seed, use, index, count):
    """SplitMix64 in whole numbers of any size."""
    golden = 0x9E3779B97F4A7C15
    state = mixed((index * golden + derive_seed(seed, "corruption", use)) & MASK)
    return [mixed((state + (i + 1) * golden) & MASK) for i in range(count)]


def test_splitmix_gives_its_published_numbers():
    """The first of the generator with state 0, as its authors' and others' programs print it."""
    golden = 0x9E3779B97F4A7C15
    assert [mixed((i * golden) & MASK) for i in (1, 2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@given(seed=st.integers(0, 2**70), index=st.integers(0, 2**40), count=st.integers(1, 9))
@settings(max_examples=50)
def test_bits_are_those_of_a_plain_loop(seed, index, count):
    found = ImageRandom(seed, torch.tensor([index])).bits("noise", count)[0].tolist()
    assert [bits & MASK for bits in found] == plain_bits(seed, "noise", index, count)


def test_parts_of_bits_are_taken_from_the_lowest():
    random = ImageRandom(5, torch.tensor([0, 9]))
    plain = plain_bits(5, "a", 9, 2)
    sixteens = [(bits >> shift) & 0xFFFF for bits in plain for shift in (0, 16, 32, 48)]
    assert random.integers16("a", 7)[1].tolist() == sixteens[:7]
    halves = [(bits >> shift) & 0xFFFFFF for bits in plain for shift in (0, 32)]
    assert random.uniform("a", 3)[1].tolist() == [value / 2**24 for value in halves[:3]]


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=9), st.data())
@settings(max_examples=25)
def test_numbers_depend_on_the_index_alone(indices, data):
    order = data.draw(st.permutations(range(len(indices))))
    some = order[: data.draw(st.integers(1, len(order)))]
    everything, picked = torch.tensor(indices), torch.tensor([indices[i] for i in some])
    for draw in ("normal", "uniform", "integers16"):
        all_of_them = getattr(ImageRandom(3, everything), draw)("noise", 2, 5)
        assert torch.equal(getattr(ImageRandom(3, picked), draw)("noise", 2, 5), all_of_them[some])


def test_seeds_uses_and_indices_have_streams_of_their_own():
    indices = torch.arange(50)
    streams = [ImageRandom(seed, indices).bits(use, 40) for seed in (0, 1) for use in ("a", "b")]
    assert torch.cat(streams).unique().numel() == 4 * 50 * 40


@pytest.mark.parametrize("across", ["one image", "many images"])
def test_distributions(across):
    random = ImageRandom(11, torch.arange(4) if across == "one image" else torch.arange(40_000))
    shape = (30_000,) if across == "one image" else (2,)
    assert kstest(random.normal("noise", *shape).double().numpy().ravel(), "norm").pvalue > 1e-3
    uniform = random.uniform("noise", *shape, low=-45.0, high=45.0).numpy().ravel()
    assert uniform.min() >= -45
    assert uniform.max() <= 45
    assert kstest((uniform.astype(np.float64) + 45) / 90, "uniform").pvalue > 1e-3
    counts = np.bincount(random.integers("noise", *shape, low=-3, high=8).numpy().ravel() + 3)
    assert len(counts) == 11
    assert chisquare(counts).pvalue > 1e-3
    counts = np.bincount(random.integers16("noise", *shape).numpy().ravel() >> 8)
    assert len(counts) == 256
    assert chisquare(counts).pvalue > 1e-3


def test_neighbours_are_not_correlated():
    normal = ImageRandom(2, torch.arange(200)).normal("noise", 1000).double()
    assert abs((normal[:, 1:] * normal[:, :-1]).mean()) < 5 / 200_000**0.5
    assert abs((normal[1:] * normal[:-1]).mean()) < 5 / 200_000**0.5


def test_normal_quantiles_have_no_bias():
    normal = ImageRandom(2, torch.arange(1000)).normal("noise", 1000).double()
    assert abs(normal.mean()) < 5e-3
    assert abs(normal.std() - 1) < 5e-3
    assert normal.abs().max() < 4.34
