"""From a dotted name to a builder: what is found, and the text for each way to miss."""

import pytest
from mylab import builders
from mylab.builders import FishConfig, NetConfig, PondConfig, ReedConfig, TrainerConfig
from mylab.wrapping import wrapped

from cotrain import build, resolve
from cotrain.errors import BuilderError, ConfigError
from cotrain.resolve import config_class, read_config

pytestmark = pytest.mark.usefixtures("lab")

OWN_BUILDERS = """
from __future__ import annotations
from typing import ClassVar, TYPE_CHECKING
from cotrain import AnyConfig, Config
if TYPE_CHECKING:
    from torch import Tensor

class SpikeConfig(Config):
    kind: ClassVar[str] = "ownlab.models.spike"
    layers: int = 2
    inner: AnyConfig | None = None

def spike(images: Tensor, config: SpikeConfig, *, seed: int) -> tuple[Tensor, SpikeConfig, int]:
    return images, config, seed
"""


def test_a_builder_and_its_config():
    assert resolve("mylab.builders.pond") is builders.pond
    assert config_class("mylab.builders.pond") is PondConfig
    assert build(PondConfig(frogs=7), seed=3) == ("pond", 7, 3)
    assert build(NetConfig(width=2), "info", seed=3) == ("info", 2, 3)
    assert build(TrainerConfig(epochs=5)) == 5


def test_a_config_without_a_builder():
    assert resolve("mylab.builders.FishConfig") is FishConfig
    assert config_class("mylab.builders.FishConfig") is FishConfig
    with pytest.raises(
        BuilderError, match=r"^'mylab\.builders\.FishConfig' is a config without a builder; it is a part"
    ):
        build(FishConfig())


def test_a_lab_package_from_end_to_end(package):
    package({"ownlab/models": OWN_BUILDERS})
    cls = config_class("ownlab.models.spike")
    config = cls(layers=3, inner={"kind": "ownlab.models.spike", "inner": None})
    assert config.inner == cls()
    assert read_config(config.record(), stored=True) == config
    assert build(config, "images", seed=1) == ("images", config, 1)
    with pytest.raises(
        ConfigError, match=r"^ownlab\.models\.spike: inner\.layer: unknown name\. Did you mean 'layers'\?$"
    ):
        read_config({"kind": "ownlab.models.spike", "inner": {"kind": "ownlab.models.spike", "layer": 1}})


def test_a_lab_package_allowed_by_the_settings_file(package, monkeypatch):
    folder = package({"ownlab/models": OWN_BUILDERS})
    monkeypatch.delenv("COTRAIN_BUILDERS")
    monkeypatch.chdir(folder)
    with pytest.raises(BuilderError, match="builders of package 'ownlab' are not allowed here"):
        resolve("ownlab.models.spike")
    (folder / "cotrain.toml").write_text('builders = ["ownlab"]')
    assert resolve("ownlab.models.spike").__name__ == "spike"
    with pytest.raises(BuilderError, match="builders of package 'mylab' are not allowed here"):
        resolve("mylab.builders.pond")


def test_a_face_may_offer_what_a_private_module_defines(package):
    text = OWN_BUILDERS.replace("ownlab.models.spike", "ownlab.spike")
    package({"ownlab/_models": text, "ownlab/__init__": "from ownlab._models import SpikeConfig, spike"})
    assert resolve("ownlab.spike").__module__ == "ownlab._models"
    with pytest.raises(BuilderError, match=r"'ownlab\._models\.spike' is private or no name"):
        resolve("ownlab._models.spike")


def test_a_wrapped_builder(monkeypatch):
    monkeypatch.setattr(builders, "pond", wrapped(builders.pond))
    assert build(PondConfig(frogs=1), seed=0) == ("pond", 1, 0)


@pytest.mark.parametrize("name", ["pond", "x", "", "cotrain"])
def test_names_without_a_module(name):
    with pytest.raises(
        BuilderError, match=rf"^'{name}' lacks a module; write a dotted name such as 'cotrain\.models\.{name}'"
    ):
        resolve(name)


@pytest.mark.parametrize(
    "name",
    [*("os.system", "builtins.eval", "subprocess.run", "torch.hub.load", "cotrain_evil.x", "mylab2.x", "..x")],
)
def test_packages_that_are_not_allowed_are_not_imported(name, package, monkeypatch):
    package({"cotrain_evil": "raise SystemExit", "mylab2": "raise SystemExit"})
    monkeypatch.setenv("COTRAIN_BUILDERS", "mylab, other")
    with pytest.raises(
        BuilderError,
        match=r"^'.*': builders of package '.*' are not allowed here \(allowed: cotrain, mylab, other\)\. If you "
        r"trust it, set COTRAIN_BUILDERS=.* or name it under 'builders' in cotrain\.toml\.$",
    ):
        resolve(name)


@pytest.mark.parametrize("name", ["tables.runs.Run", "recipes.digits.Digits", "tables.x"])
def test_bare_names_of_folders(name, monkeypatch):
    monkeypatch.setenv("COTRAIN_BUILDERS", "tables,recipes")
    with pytest.raises(
        BuilderError, match=rf"^'{name}': write 'cotrain\.{name}'; the bare name belongs to another package"
    ):
        resolve(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "cotrain._yaml.read_yaml",
            "cotrain.config._plain",
            "mylab.builders._private",
            "mylab._x.y",
            "cotrain.__main__.x",
        ),
        *("cotrain.config.__builtins__", "mylab..pond", "mylab.builders.", "mylab.a/b.c"),
        "mylab.builders.pond ",
        "mylab.\0.x",
    ],
)
def test_private_names_and_no_names(name):
    with pytest.raises(BuilderError, match=r"is private or no name; a config names the public place of a builder\.$"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("mylab.bilders.pond", "mylab.bilders"),
        ("cotrain.modles.shared_backbone", "cotrain.modles"),
        ("mylab.builders.PondConfig.key", "mylab.builders.PondConfig"),
        ("mylab.a.b.c", "mylab.a"),
        ("cotrain.config.json.dumps", "cotrain.config.json"),
        ("cotrain.seeds.hashlib.new", "cotrain.seeds.hashlib"),
    ],
)
def test_modules_that_do_not_exist(name, module):
    with pytest.raises(BuilderError, match=rf"^'{name}': there is no module '{module}'\.$"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("mylab.builders.pnod", r"'mylab\.builders'\. Did you mean 'pond'\?"),
        (
            "mylab.builders.zzz",
            r"'mylab\.builders'\. Known: EverythingConfig, FishConfig, ReedConfig, net, pond, trainer\.",
        ),
        ("cotrain.seeds.zzz", r"'cotrain\.seeds'\."),
    ],
)
def test_builders_that_do_not_exist(name, advice):
    with pytest.raises(BuilderError, match=rf"^'{name}' does not exist in {advice}$"):
        resolve(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "cotrain.resolve.import_module",
            "cotrain.config.json",
            "cotrain.build",
            "cotrain.resolve.build",
            "cotrain.errors",
        ),
        *(
            "cotrain.Config",
            "cotrain.config.Config",
            "cotrain.Recipe",
            "cotrain.seeds.derive_seed",
            "cotrain.seeds.USES",
        ),
        *("mylab.builders.no_config", "mylab.builders.unannotated", "mylab.builders.plain_mapping"),
        *(
            "mylab.builders.borrowed",
            "mylab.builders.unreadable",
            "mylab.builders.misspelt",
            "mylab.builders.ungrammatical",
            "mylab.builders.PondConfig",
        ),
    ],
)
def test_what_is_no_builder(name):
    with pytest.raises(
        BuilderError,
        match=rf"^'{name}' is no builder \(a function with a parameter 'config', annotated with a config class that "
        r"has this kind and is imported at run time\)\.",
    ):
        resolve(name)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("import nowhere_to_be_found", ModuleNotFoundError, "No module named 'nowhere_to_be_found'"),
        ("import ownlab.absent", ModuleNotFoundError, r"No module named 'ownlab\.absent'"),
        ("from os import nothing_of_this_name", ImportError, "cannot import name"),
        ("def f(:", SyntaxError, "invalid syntax"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
    ],
)
def test_errors_inside_an_existing_module_are_not_blamed_on_the_name(text, error, words, package):
    package({"ownlab/broken": text})
    with pytest.raises(error, match=words) as caught:
        resolve("ownlab.broken.net")
    assert type(caught.value) is error


@pytest.mark.parametrize("record", [{}, {"frogs": 3}, {"kind": 3}, {"kind": None}])
def test_records_need_a_kind(record):
    with pytest.raises(BuilderError, match=r"^A config needs 'kind', the dotted name of its builder; found \["):
        read_config(record)


def test_read_config_reads_as_told():
    record = {"kind": "mylab.builders.ReedConfig"}
    assert read_config(record) == ReedConfig()
    with pytest.raises(ConfigError, match="the stored record lacks 'stems', which was never optional"):
        read_config(record, stored=True)


def test_a_config_class_whose_builder_has_another_kind(package):
    package({"ownlab/models": OWN_BUILDERS.replace('"ownlab.models.spike"', '"ownlab.models.spikes"')})
    with pytest.raises(BuilderError, match=r"^'ownlab\.models\.spike' is no builder"):
        resolve("ownlab.models.spike")
    with pytest.raises(BuilderError, match=r"^'ownlab\.models\.spikes' does not exist in 'ownlab\.models'"):
        resolve("ownlab.models.spikes")
