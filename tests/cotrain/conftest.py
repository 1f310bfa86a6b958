"""A lab's own package, `mylab`, for tests that need builders outside cotrain."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "labs"))


@pytest.fixture(scope="module")
def lab() -> Iterator[None]:
    """`mylab` is allowed, and nothing else is set."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COTRAIN_SETTINGS", "COTRAIN_DATA", "COTRAIN_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("COTRAIN_BUILDERS", "mylab")
        yield
