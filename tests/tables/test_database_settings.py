"""Where the database is: variables before the file, and what is wrong in either."""

import re

import pytest

from cotrain.errors import ConfigError, DatabaseError
from cotrain.tables.settings import VARIABLES, database_settings


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A function that writes `cotrain.toml` in the current folder; no variable is set."""
    for name in ("DJ_PASS", "DJ_USE_TLS", "COTRAIN_SETTINGS", *VARIABLES.values()):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda text: (tmp_path / "cotrain.toml").write_text(text)


def test_nothing_set_means_the_embedded_database(file):
    settings = database_settings()
    assert (settings.host, settings.schema, settings.password) == ("", "cotrain", "")


def test_all_from_the_file(file, tmp_path):
    (tmp_path / "secret").write_text("s3cret word\n")
    (tmp_path / "ca.pem").touch()
    file(
        '[database]\nbackend = "postgresql"\nhost = "db.lab"\nport = 5433\nuser = "ann"\nname = "vision"\n'
        'schema = "v4"\ntls = "verify"\nca = "ca.pem"\npassword_file = "secret"\n'
    )
    found = database_settings()
    assert (found.place, found.backend, found.user, found.name) == ("db.lab:5433", "postgresql", "ann", "vision")
    assert (found.schema, found.tls, found.ca, found.password) == ("v4", "verify", "ca.pem", "s3cret word")
    assert "s3cret" not in repr(found)


def test_variables_go_before_the_file(file, monkeypatch):
    file('[database]\nhost = "db.lab"\nuser = "ann"\ntls = "require"\n')
    for name, value in {"DJ_HOST": "other", "DJ_PASS": "word", "COTRAIN_TLS": "off", "DJ_USER": ""}.items():
        monkeypatch.setenv(name, value)
    found = database_settings()
    assert (found.place, found.user, found.password, found.tls) == ("other:3306", "ann", "word", "off")
    monkeypatch.setenv("DJ_HOST", "")
    assert database_settings().host == "", "the embedded database in spite of the file"


def test_a_schema_that_is_given_goes_before_both(file):
    file('[database]\nschema = "v4"\n')
    assert database_settings(schema="it").schema == "it"


@pytest.mark.parametrize(("value", "tls"), [("true", "require"), ("False", "off"), ("", "prefer")])
def test_datajoints_own_variable_of_tls(value, tls, file, monkeypatch):
    monkeypatch.setenv("DJ_USE_TLS", value)
    assert database_settings().tls == tls


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("database = 1", r"cotrain\.toml: database must be a table, written as \[database\], found 1\."),
        ("[database]\nhots = 'x'", r"cotrain\.toml: \[database\] has no setting 'hots'\. Did you mean 'host'\?"),
        ("[database]\npassword = 'x'", r"cotrain\.toml: a password does not belong here.*password_file\."),
        ("[database]\nport = '1'", r"\[database\] port must be a whole number, found '1'\."),
        ("[database]\nhost = 1", r"\[database\] host must be text in quotes, found 1\."),
        ("[database]\nport = 70000", r"\[database\] port must be a port's number, 1 to 65535, found 70000\."),
        (
            "[database]\nbackend = 'postgres'",
            r"\[database\] backend must be .*'postgres'\. Did you mean 'postgresql'\?",
        ),
        ("[database]\ntls = 'verfy'", r"\[database\] tls must be one of .*'verfy'\. Did you mean 'verify'\?"),
        ("[database]\ntls = 'verify'", r"TLS that verifies needs a file of certificates.*: none is named\."),
        ("[database]\ntls = 'verify'\nca = 'no.pem'", r"\[database\] ca names no\.pem, which is no file\."),
        ("[database]\nhost = 'h'\npassword_file = 'no'", r"password_file names no, .*: No such file or directory\."),
    ],
)
def test_a_wrong_file(text, told, file):
    file(text)
    with pytest.raises(ConfigError, match=rf"{told}$"):
        database_settings()


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("DJ_PORT", "many", "DJ_PORT must be a port's number, 1 to 65535, found 'many'."),
        ("DJ_BACKEND", "sqlite", "DJ_BACKEND must be postgresql or mysql, found 'sqlite'."),
        ("COTRAIN_TLS", "on", "COTRAIN_TLS must be one of off, prefer, require, verify, found 'on'."),
    ],
)
def test_a_wrong_variable(variable, value, told, file, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=rf"^{re.escape(told)}"):
        database_settings()


def test_two_passwords(file, monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("from a file")
    monkeypatch.setenv("DJ_HOST", "h")
    monkeypatch.setenv("DJ_PASS_FILE", "secret")
    assert database_settings().password == "from a file"
    monkeypatch.setenv("DJ_PASS", "word")
    with pytest.raises(ConfigError, match=r"^Both DJ_PASS and DJ_PASS_FILE are set"):
        database_settings()


def test_a_schemas_name(file):
    with pytest.raises(DatabaseError, match="found 'Lab'"):
        database_settings(schema="Lab")
