"""A database for tests: one embedded server a session, and for each test file a schema and a home of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cotrain.cli import main
from cotrain.recipe import Recipe, find_recipe

OTHER_SERVER = "COTRAIN_TEST_SERVER"  # set: test on the server that DJ_HOST and its like name
TINY = Path(__file__).with_name("tiny.py")

if OTHER_SERVER not in os.environ:
    # before datajoint reads them: a lab's own database is nothing to test on
    for name in [name for name in os.environ if name.startswith(("DJ_", "COTRAIN_")) and name != "COTRAIN_TEST_DATA"]:
        del os.environ[name]


def wait_for(what: Callable[[], Any], *, seconds: float) -> Any:
    """The first true answer of `what`."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


@dataclass
class Lab:
    """A home with data, and the environment of a process that works there."""

    home: Path
    schema: str
    environment: dict[str, str]
    started: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """A command in a process of its own."""
        return self.start_python(
            "import sys; from cotrain.cli import main; sys.exit(main())", *arguments, **environment
        )

    def cotrain(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """A command in a process of its own, to its end."""
        return self._ended(self.start(*arguments, **environment))

    def python(self, code: str, **environment: str) -> subprocess.CompletedProcess:
        """Lines of Python in a process of their own, to their end."""
        return self._ended(self.start_python(code, **environment))

    def start_python(self, code: str, *arguments: str, **environment: str) -> subprocess.Popen:
        """Lines of Python in a process of their own."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", code, *arguments]
        process = subprocess.Popen(command, cwd=self.home, env={**self.environment, **environment}, **pipes)
        self.started.append(process)
        return process

    @staticmethod
    def _ended(process: subprocess.Popen) -> subprocess.CompletedProcess:
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def recipe(self, name: str) -> type[Recipe]:
        """A recipe of `tiny.py`."""
        return find_recipe(f"{TINY}:{name}")

    def enqueue(self, name: str, **options: Any) -> Any:
        """Put a recipe of `tiny.py` into the queue, from here."""
        from cotrain.tables import queue

        recipe = self.recipe(name)
        return queue.enqueue(recipe, recipe.name(), **options)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A home whose embedded server may run; it is stopped in the end."""
    from cotrain.tables.embedded import EmbeddedPostgres

    # pytest's own folders are closed to the user that root's server runs as
    folder = Path(tempfile.mkdtemp(prefix="cotrain-tables-"))
    folder.chmod(0o755)
    yield folder
    EmbeddedPostgres(folder / "database").stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment variables of a server that runs as long as the tests do."""
    from cotrain.tables.embedded import EmbeddedPostgres

    if OTHER_SERVER in os.environ:
        return {name: value for name, value in os.environ.items() if name.startswith("DJ_")}
    found = EmbeddedPostgres(request.getfixturevalue("server_folder") / "database").start()
    return {
        "DJ_HOST": found.host,
        "DJ_PORT": str(found.port),
        "DJ_USER": found.user,
        "DJ_PASS": found.password,
        "DJ_BACKEND": "postgresql",
        "DJ_USE_TLS": "false",
    }


@pytest.fixture(scope="module")
def unconnected(server: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with data and a server, to which nobody has connected."""
    home = tmp_path_factory.mktemp("lab")
    find_recipe(f"{TINY}:Tiny")
    sys.modules["cotrain_recipe_tiny"].write_data(home)
    schema = f"test_{uuid.uuid4().hex[:12]}"
    settings = {"COTRAIN_HOME": str(home), "COTRAIN_DATA": str(home), "COTRAIN_SCHEMA": schema, **server}
    settings |= {"OMP_NUM_THREADS": "1", "COTRAIN_MARIADB": "ok"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        lab = Lab(home, schema, dict(os.environ))
        yield lab
        for process in lab.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def lab(unconnected: Lab) -> Iterator[Lab]:
    """A lab, and this process connected to its database."""
    from cotrain.tables import configs, evaluate
    from cotrain.tables.connect import connect, disconnect

    evaluate._built.cache_clear()  # another lab's data may have had the same config
    connect(create=True)
    yield unconnected
    connect()  # whatever the tests did to the connection
    configs.schema.drop()
    disconnect()


def forget_evaluations() -> None:
    """Nothing is evaluated, and no data are held from an earlier test."""
    from cotrain.tables import evaluate
    from cotrain.tables.evaluations import TABLES, Evaluation

    (Evaluation() & True).delete()
    for table in set(TABLES.values()):
        table.jobs.delete_quick()
    evaluate._built.cache_clear()


@pytest.fixture
def fresh(trained: Lab) -> Lab:
    """A lab in which `Tiny` is trained, and nothing is evaluated."""
    forget_evaluations()
    return trained


@pytest.fixture(scope="module")
def trained(lab: Lab) -> Lab:
    """A lab in which `Tiny` is trained."""
    from cotrain.tables.worker import work

    lab.enqueue("Tiny")
    assert work(recipe="tiny.Tiny") == (2, 0)
    return lab


@pytest.fixture
def command(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """A function that runs a command line in this process: its status, output and errors."""
    from cotrain.tables.connect import connect

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = stop.code
        said = capsys.readouterr()
        connect()  # the command has disconnected
        return status, said.out, said.err

    return run
