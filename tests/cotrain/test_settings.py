"""Settings of a machine: the environment first, then cotrain.toml, then defaults."""

from pathlib import Path

import pytest

from cotrain.errors import ConfigError
from cotrain.settings import allowed_packages, data_folder, home_folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current folder and no settings in the environment."""
    for name in ("COTRAIN_BUILDERS", "COTRAIN_DATA", "COTRAIN_HOME", "COTRAIN_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/people/me")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults():
    assert data_folder() == Path("data")
    assert home_folder() == Path("cotrain_home")
    assert allowed_packages() == ("cotrain",)


def test_the_file_of_the_current_folder(folder):
    (folder / "cotrain.toml").write_text('data = "/big/data"\nhome = "~/runs"\nbuilders = ["mylab", " other "]\n')
    assert data_folder() == Path("/big/data")
    assert home_folder() == Path("/people/me/runs")
    assert allowed_packages() == ("cotrain", "mylab", "other")


def test_the_environment_comes_first(folder, monkeypatch):
    (folder / "cotrain.toml").write_text('data = "a"\nhome = "a"\nbuilders = ["a"]\n')
    monkeypatch.setenv("COTRAIN_DATA", "~/b")
    monkeypatch.setenv("COTRAIN_HOME", "b")
    monkeypatch.setenv("COTRAIN_BUILDERS", "b, c,,")
    assert data_folder() == Path("/people/me/b")
    assert home_folder() == Path("b")
    assert allowed_packages() == ("cotrain", "b", "c")


def test_an_empty_list_in_the_environment_allows_nothing_more(folder, monkeypatch):
    (folder / "cotrain.toml").write_text('builders = ["a"]\n')
    monkeypatch.setenv("COTRAIN_BUILDERS", "")
    assert allowed_packages() == ("cotrain",)


def test_an_empty_folder_in_the_environment_is_none(folder, monkeypatch):
    (folder / "cotrain.toml").write_text('data = "a"\n')
    monkeypatch.setenv("COTRAIN_DATA", "")
    assert data_folder() == Path("a")


def test_a_file_that_the_environment_names(folder, monkeypatch):
    (folder / "cotrain.toml").write_text('data = "a"\n')
    (folder / "other.toml").write_text('data = "b"\n')
    monkeypatch.setenv("COTRAIN_SETTINGS", str(folder / "other.toml"))
    assert data_folder() == Path("b")
    monkeypatch.setenv("COTRAIN_SETTINGS", str(folder / "absent.toml"))
    with pytest.raises(
        ConfigError, match=r"^COTRAIN_SETTINGS names .*absent\.toml, which is no file\. Correct or unset it"
    ):
        data_folder()


@pytest.mark.parametrize("content", [b"data = ", b"data = data", b"\xff\xfe", b"data = 'a'\ndata = 'b'"])
def test_no_toml(content, folder):
    (folder / "cotrain.toml").write_bytes(content)
    for setting in (data_folder, home_folder, allowed_packages):
        with pytest.raises(ConfigError, match=r"^cotrain\.toml is not valid TOML: "):
            setting()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("dta = 'a'", r"unknown setting 'dta'\. Did you mean 'data'\?"),
        ("[databases]\nhost = 'a'", r"unknown setting 'databases'\."),
        ("data = 3", "data must be text in quotes, found 3"),
        ("home = ['a']", r"home must be text in quotes, found \['a'\]"),
        ("builders = 'mylab'", "builders must be a list of package names, found 'mylab'"),
        ("builders = [1]", r"builders must be a list of package names, found \[1\]"),
        ("builders = [['a']]", r"builders must be a list of package names, found \[\['a'\]\]"),
    ],
)
def test_wrong_settings(content, text, folder):
    (folder / "cotrain.toml").write_text(content)
    with pytest.raises(ConfigError, match=rf"^cotrain\.toml: {text}"):
        allowed_packages()


def test_settings_are_read_at_each_use(folder):
    """A worker that runs for weeks sees a correction without a restart."""
    (folder / "cotrain.toml").write_text('data = "a"\n')
    assert data_folder() == Path("a")
    (folder / "cotrain.toml").write_text('data = "b"\n')
    assert data_folder() == Path("b")
