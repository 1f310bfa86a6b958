"""A lab's own package, `mylab`, for tests that need builders outside cotrain."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("cotrain", deadline=None)  # a busy machine is no error
settings.load_profile("cotrain")
sys.path.insert(0, str(Path(__file__).parent / "labs"))


@pytest.fixture(scope="module")
def lab() -> Iterator[None]:
    """`mylab` is allowed, and nothing else is set."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COTRAIN_SETTINGS", "COTRAIN_DATA", "COTRAIN_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("COTRAIN_BUILDERS", "mylab")
        yield


@pytest.fixture
def command(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str, str]]:
    """A function that runs a command line in the test file's `place`: its status, output and errors."""
    from cotrain import cli

    def run(*arguments: str) -> tuple[Any, str, str]:
        capsys.readouterr()
        try:
            status: Any = cli.main(arguments)
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], Path]]:
    """A function that writes {path without .py: text} into a folder, from which packages are imported and allowed."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(modules: dict[str, str]) -> Path:
        for name, text in modules.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            monkeypatch.setenv("COTRAIN_BUILDERS", name.partition("/")[0])
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]
