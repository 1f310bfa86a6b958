"""RDMs as targets: means of groups, and RDMs that are stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.dissimilarity import DISSIMILARITIES, crossnobis, group_means, pairs, rdm, stored_rdm, unbiased_cka
from cotrain.errors import ModelError
from cotrain.losses import rdm_loss
from cotrain.metrics import rdm_scores


def normal(*shape, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6), st.integers(0, 20), st.integers(0, 10**6))
def test_means_of_groups_are_those_of_a_loop_whatever_their_sizes_and_order(count, more, seed):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.r_[np.arange(count), rng.integers(0, count, more)])
    values = normal(len(groups), 5, seed=seed, dtype=torch.float32)
    found = group_means(values, torch.tensor(groups), count)
    assert found.dtype == torch.float64
    expected = np.stack([values.double().numpy()[groups == group].mean(0) for group in range(count)])
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize(
    ("groups", "count", "text"),
    [
        ([0, 1, 2], 2, r"numbered within 0\.\.1, as the rows of the RDM; found 0\.\.2"),
        ([-1, 0, 1], 2, r"found -1\.\.1"),
        ([0, 0, 2], 4, r"found none of the groups \[1, 3\]"),
    ],
)
def test_wrong_groups_are_refused(groups, count, text):
    with pytest.raises(ModelError, match=text):
        group_means(normal(3, 5), torch.tensor(groups), count)


@pytest.mark.parametrize("dissimilarity", [*DISSIMILARITIES, "crossnobis"])
def test_stored_rdms_are_symmetric_and_nearest_to_those_of_float64(dissimilarity):
    responses = normal(3, 40, 30, seed=1) if dissimilarity == "crossnobis" else normal(40, 30, seed=1)
    found = stored_rdm(responses.float(), dissimilarity)
    make = crossnobis if dissimilarity == "crossnobis" else lambda values: rdm(values, dissimilarity)
    exact = make(responses.float().double())
    assert found.dtype == torch.float32 and torch.equal(found, found.T)
    assert torch.equal(found, ((exact + exact.T) / 2).float())
    if dissimilarity == "crossnobis":
        assert torch.equal(
            stored_rdm(responses, dissimilarity, whitening="none"),
            stored_rdm(responses.flip(0), dissimilarity, whitening="none"),
        )
    else:  # so that fingerprints are equal on all machines
        order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
        assert torch.equal(found, stored_rdm(responses.float()[:, order], dissimilarity))


@pytest.mark.filterwarnings("ignore")
def test_comparisons_are_those_of_rsatoolbox():
    toolbox = pytest.importorskip("rsatoolbox", reason="rsatoolbox is not installed (the extra `references`)")
    values, wanted = normal(12, 30, seed=1), rdm(normal(12, 9, seed=2))
    theirs = [toolbox.rdm.RDMs(pairs(held).numpy()[None]) for held in (rdm(values), wanted)]
    for comparison, method in (("pearson", "corr"), ("cosine", "cosine")):
        expected = 1 - toolbox.rdm.compare(*theirs, method=method).item()
        assert rdm_loss(values, wanted, comparison=comparison).item() == pytest.approx(expected, abs=1e-9)
    found = dict(rdm_scores(rdm(values), wanted))
    for metric, method in (("pearson", "corr"), ("spearman", "spearman")):
        assert found[metric] == pytest.approx(toolbox.rdm.compare(*theirs, method=method).item(), abs=1e-9)
    # theirs is the biased kernel alignment, which the unbiased one nears as stimuli grow in number
    many = [rdm(normal(400, 6, seed=3) + held) for held in (0, 0.5 * normal(400, 6, seed=4))]
    biased = toolbox.rdm.compare(*(toolbox.rdm.RDMs(pairs(held).numpy()[None]) for held in many), method="cosine_cov")
    assert unbiased_cka(*many).item() == pytest.approx(biased.item(), abs=0.02)
