"""Settings that every test shares."""

import os
import signal

import pytest

# Before torch is imported, here and in the processes that tests start: sums in another number of threads round
# otherwise, and runs of two processes would not be equal bit for bit. The networks of tests are too small for two.
os.environ["OMP_NUM_THREADS"] = "1"
# a shell's background job ignores Ctrl-C, and so would the processes whose answer to it is tested
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def compiling():
    """Dynamo cannot look into checks of shapes, which tests alone switch on; and nothing is kept from test to test."""
    import jaxtyping
    import torch

    torch.compiler.reset()
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
    torch.compiler.reset()
