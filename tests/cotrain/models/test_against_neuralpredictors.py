"""Readouts equal those of neuralpredictors, from which the paper's were made, where both define the same function."""

import pytest
import torch

from cotrain.models import (
    FactorizedReadoutConfig,
    GaussianReadoutConfig,
    PointPooledReadoutConfig,
    factorized_readout,
    gaussian_readout,
    point_pooled_readout,
)
from cotrain.tasks import SessionInfo, TaskInfo

theirs = pytest.importorskip(
    "neuralpredictors.layers.readouts", reason="neuralpredictors, an optional cross-check, is not installed"
)

pytestmark = pytest.mark.filterwarnings("ignore:Readout is NOT initialized")  # their bias is copied from ours

SHAPE, NEURONS = (4, 5, 7), 3
SESSION = SessionInfo(NEURONS, (0.5, 1.5, 3.0), 0.0, {"train": 8, "validation": 4, "test": 4})
TASK = TaskInfo("neural", (1, 8, 8), (0.5,), (0.2,), sessions={"": SESSION})


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def put(parameter, value):
    with torch.no_grad():
        parameter.copy_(value.reshape(parameter.shape))


def compare(ours, their):
    part, features = ours.eval().part(""), random(2, *SHAPE, seed=4)
    put(part.weight, random(NEURONS, SHAPE[0], seed=1))
    put(their.bias, part.bias.detach())
    torch.testing.assert_close(ours(features, ""), their.eval()(features), rtol=1e-4, atol=1e-5)


def test_the_gaussian_readout():
    ours = gaussian_readout(TASK, GaussianReadoutConfig(), features=SHAPE)
    their = theirs.FullGaussian2d(SHAPE, NEURONS, bias=True, gauss_type="isotropic")
    put(their._mu, ours.part("").mu.detach())
    put(their._features, random(NEURONS, SHAPE[0], seed=1).T)
    compare(ours, their)


def test_the_factorized_readout():
    ours = factorized_readout(TASK, FactorizedReadoutConfig(), features=SHAPE)
    their = theirs.FullFactorized2d(SHAPE, NEURONS, bias=True, normalize=True)
    put(their.spatial, ours.part("").mask.detach())
    put(their._features, random(NEURONS, SHAPE[0], seed=1))
    compare(ours, their)


def test_the_point_readout_without_pooling():
    ours = point_pooled_readout(TASK, PointPooledReadoutConfig(windows=(1,)), features=SHAPE)
    their = theirs.PointPooled2d(SHAPE, NEURONS, pool_steps=0, bias=True, pool_kern=2, init_range=0.1)
    put(their.grid, ours.part("").mu.detach())
    put(their.features, random(NEURONS, SHAPE[0], seed=1).T)
    compare(ours, their)
