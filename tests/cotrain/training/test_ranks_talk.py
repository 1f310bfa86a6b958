"""What ranks tell each other, each piece by itself: gathered rows, batch norm, decisions, errors; and who they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cotrain.data import MixingConfig, MixingLoader
from cotrain.data import Source as DataSource
from cotrain.errors import DataError, ModelError, TrainingError
from cotrain.models import statistics_of_all
from cotrain.models._batch_norm import freeze_norms
from cotrain.training._device import pick_device
from cotrain.training._ranks import Ranks, from_environment
from cotrain.training._spawned import _environment

TALK = '''
import json, sys
import torch
from torch import nn
from cotrain.data import MixingConfig
from cotrain.errors import DataError, TrainingError
from cotrain.models import statistics_of_all
from cotrain.training._ranks import ranks_here
from cotrain.training._together import Together

def draws(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

def gathered(ranks):
    """Against the whole batch: a loss of all rows, and the averaged gradient of what gave them."""
    whole, weight = draws(0, 12, 3), draws(1, 3, 2)
    for each in (1, 2, 3):
        own = weight.clone().requires_grad_()
        rows = whole.view(-1, each, 3)[ranks.rank :: 2].flatten(0, 1) @ own
        loss = torch.cdist(ranks.gather(rows, each), draws(2, 5, 2)).sin().prod(1).sum()
        loss.backward()
        ranks.average([own.grad])
        other = weight.clone().requires_grad_()
        torch.cdist(whole @ other, draws(2, 5, 2)).sin().prod(1).sum().backward()
        torch.testing.assert_close(ranks.gather(rows, each), whole @ other)
        torch.testing.assert_close(own.grad, other.grad)

def batch_norm(ranks):
    """Outputs, gradients and running statistics of torch's own, shown all images."""
    options = {}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}
    for dimensions, options in zip((2, 1, 2, 1), options, strict=True):
        made = [{1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[dimensions](3, **options).double() for _ in range(2)]
        shape = (8, 3, 4, 5)[: 2 if dimensions == 1 else 4]
        for number in range(3):
            whole, wanted = 100 + draws(number, *shape), draws(10 + number, *shape)
            own, other = whole[ranks.rank :: 2].clone().requires_grad_(), whole.clone().requires_grad_()
            with statistics_of_all(made[0], ranks.stacked):
                output = made[0](own)
            assert "forward" not in vars(made[0])
            expected = made[1](other)
            torch.testing.assert_close(output, expected[ranks.rank :: 2])
            (output * wanted[ranks.rank :: 2]).sum().backward()
            (expected * wanted).sum().backward()
            torch.testing.assert_close(own.grad, other.grad[ranks.rank :: 2], atol=1e-8, rtol=1e-6)
        for parameter, of_all in zip(made[0].parameters(), made[1].parameters(), strict=True):
            ranks.average([parameter.grad])
            torch.testing.assert_close(2 * parameter.grad, of_all.grad)
        for held, of_all in zip(made[0].buffers(), made[1].buffers(), strict=True):
            torch.testing.assert_close(held, of_all)

def decisions(ranks):
    assert ranks.agreed(lambda: {"from": ranks.rank}) == {"from": 0}
    assert ranks.told(ranks.rank) == [0, 1]
    rows = draws(0, 7, 2)
    joined = ranks.joined(rows[ranks.share(7)])
    assert (joined is None) == (ranks.rank == 1) and (joined is None or torch.equal(joined, rows))
    try:
        ranks.agreed(lambda: (_ for _ in ()).throw(DataError("of the first")))
    except DataError as error:
        assert str(error) == "of the first"
    else:
        raise AssertionError("told to all")

def randomness(ranks):
    torch.manual_seed(ranks.rank)
    together = Together(ranks, MixingConfig(main="a"), frozenset(), 0, torch.device("cpu"))
    found = []
    for _ in range(2):
        with together.alike():
            found.append(torch.rand(3).tolist())
    own = ranks.told(torch.rand(3).tolist())
    assert own[0] != own[1]
    untouched = torch.rand(3, generator=torch.Generator().manual_seed(ranks.rank))
    assert own[ranks.rank] == untouched.tolist()
    assert ranks.told(found) == [found, found] and found[0] != found[1]

def stops(ranks):
    together = Together(ranks, MixingConfig(main="a"), frozenset(), 0, torch.device("cpu"))
    gradient = torch.full((3,), float(ranks.rank))
    together.average([gradient])
    assert gradient.tolist() == [0.5] * 3 and not together.stop
    together.own_stop.signal = 15 if ranks.rank else None
    together.average([gradient])
    assert together.stop.signal == 15

def layouts(ranks):
    together = Together(ranks, MixingConfig(main="a"), frozenset(), 0, torch.device("cpu"))
    try:
        together.average([torch.zeros(3 + ranks.rank)])
    except TrainingError as error:
        return str(error)

for _ in range(2):  # a group can be opened again
    with ranks_here() as ranks:
        for check in (gathered, batch_norm, decisions, randomness, stops):
            check(ranks)
        said = layouts(ranks)
print(json.dumps(said))
'''


def test_ranks_talk(tmp_path):
    from torch._C._distributed_c10d import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TALK], env=_environment(rank, 2, store.port), stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    for text in said:
        assert json.loads(text).startswith(
            "Rank 1 has gradients of 1 tensors with 4 numbers, rank 0 of 1 with 3: they train different models."
        )


@pytest.mark.slow
def test_ranks_that_do_not_come_are_not_waited_for_for_ever():
    code = "from cotrain.training import ranks_here\nwith ranks_here(): pass"
    variables = {**_environment(0, 2, 0), "COTRAIN_RANKS_TIMEOUT": "2", "TORCHELASTIC_USE_AGENT_STORE": ""}
    ended = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 1
    assert "TrainingError: Rank 0 does not reach the others at 127.0.0.1:0 within 2 seconds" in ended.stderr


def test_compiled_passes_ask_nobody():
    network = nn.Sequential(nn.BatchNorm2d(3))
    refused = pytest.raises(ModelError, match="compile=True does not go with several ranks where batch norm is trained")
    with refused, statistics_of_all(network, torch.Tensor.unsqueeze, compiled=True):
        pass
    freeze_norms(network)
    with statistics_of_all(network, torch.Tensor.unsqueeze, compiled=True):
        network(torch.zeros(2, 3, 4, 4))


def test_one_process_has_nobody_to_talk_to():
    ranks, tensor = Ranks(), torch.arange(3.0)
    ranks.average([tensor])
    ranks.wait()
    assert tensor.tolist() == [0, 1, 2]
    assert ranks.gather(tensor) is tensor and ranks.joined(tensor) is tensor
    assert ranks.agreed(lambda: "own") == "own" and ranks.told("own") == ["own"]
    assert ranks.first and not ranks.several


@pytest.fixture
def launched(monkeypatch):
    """A function that sets what a launcher sets, and nothing else."""

    def launch(**variables: str) -> None:
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launch


def test_ranks_are_those_that_the_launcher_names(launched):
    place = {"MASTER_ADDR": "a", "MASTER_PORT": "1"}
    launched()
    assert from_environment() == Ranks()
    launched(RANK="0", WORLD_SIZE="1", **place)
    assert from_environment() == Ranks()
    launched(RANK="5", LOCAL_RANK="1", WORLD_SIZE="8", **place)
    assert from_environment() == Ranks(5, 1, 8)
    launched(RANK="5", WORLD_SIZE="8")
    with pytest.raises(TrainingError, match="RANK is set, but not MASTER_ADDR, MASTER_PORT: start with torchrun"):
        from_environment()
    for rank, size in (("8", "8"), ("-1", "8"), ("one", "8")):
        launched(RANK=rank, WORLD_SIZE=size, **place)
        with pytest.raises(TrainingError, match=f"fewer than WORLD_SIZE; found RANK={rank}"):
            from_environment()


def test_shares_have_no_gaps_and_are_alike():
    for rows in (4, 5, 11):
        shares = [Ranks(rank, rank, 4).share(rows) for rank in range(4)]
        assert [n for share in shares for n in range(rows)[share]] == list(range(rows))
        sizes = [len(range(rows)[share]) for share in shares]
        assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1


def test_each_rank_needs_a_gpu_of_its_own():
    assert pick_device("cpu", Ranks(1, 1, 2)).type == "cpu"
    with pytest.raises(TrainingError, match="Several ranks cannot share the GPU 'cuda:0'"):
        pick_device("cuda:0", Ranks(1, 1, 2))
    with pytest.raises(TrainingError, match="Each rank needs a GPU of its own; rank 99 finds"):
        pick_device("cuda", Ranks(99, 99, 100))


def source(stimuli: int) -> DataSource:
    images = torch.zeros(stimuli, 1, 2, 2, dtype=torch.uint8)
    responses = torch.arange(stimuli, dtype=torch.float32)
    return DataSource("rdm", images, (responses[:, None] - responses).abs())


def test_targets_of_a_whole_batch_are_those_of_all_ranks_in_their_order():
    sources = {"geometry": {"": source(20)}}
    mixing = MixingConfig(main="geometry", batch_size=8)
    alone = list(MixingLoader(sources, mixing, seed=3))
    for rank in range(2):
        held = MixingLoader(sources, mixing, seed=3, rank=rank, world_size=2, whole=[("geometry", "")])
        for one, shared in zip(alone, held, strict=True):
            assert torch.equal(shared.targets, one.targets) and len(shared.images) == 4


def test_ranks_that_would_make_other_batches_do_not_go_on():
    loader = MixingLoader({"g": {"": source(21)}}, MixingConfig(main="g", batch_size=9), seed=0, rank=0, world_size=2)
    loader.require_same_batches(2)
    with pytest.raises(DataError, match=r"Training began with 1 rank\(s\), whose batches have other sizes"):
        loader.require_same_batches(1)


def test_what_starts_ranks_names_the_folders_it_imports_from(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    variables = _environment(1, 2, 1234)
    assert str(tmp_path) in variables["PYTHONPATH"].split(os.pathsep)
    assert Path(variables["PYTHONPATH"].split(os.pathsep)[0]).is_absolute()
    assert (variables["RANK"], variables["WORLD_SIZE"], variables["MASTER_PORT"]) == ("1", "2", "1234")
