"""Where the lab's database is and how to get in: from environment variables, else from `[database]` in `cotrain.toml`.

| what | environment | `[database]` | default |
|---|---|---|---|
| host of a server; none means the embedded database | `DJ_HOST` | `host` | none |
| `postgresql` or `mysql` | `DJ_BACKEND` | `backend` | `mysql` |
| port | `DJ_PORT` | `port` | 5432 or 3306 |
| account | `DJ_USER` | `user` | |
| file that holds the password | `DJ_PASS_FILE` | `password_file` | |
| the password itself | `DJ_PASS` | never | none |
| database of a PostgreSQL server | `DJ_DATABASE_NAME` | `name` | `postgres` |
| schema | `COTRAIN_SCHEMA` | `schema` | `cotrain` |
| `off`, `prefer`, `require` or `verify` encryption | `COTRAIN_TLS` | `tls` | `prefer` |
| certificates (PEM) that `verify` trusts | `COTRAIN_TLS_CA` | `ca` | |

`DJ_USE_TLS`, true or false, means `require` or `off` where `COTRAIN_TLS` is not set. `DJ_HOST` that is set but empty
means the embedded database, whatever the file says.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotrain.errors import ConfigError, DatabaseError, did_you_mean
from cotrain.settings import database_table

PORTS = {"postgresql": 5432, "mysql": 3306}
TLS = ("off", "prefer", "require", "verify")
VARIABLES = {
    "backend": "DJ_BACKEND",
    "ca": "COTRAIN_TLS_CA",
    "host": "DJ_HOST",
    "name": "DJ_DATABASE_NAME",
    "password_file": "DJ_PASS_FILE",
    "port": "DJ_PORT",
    "schema": "COTRAIN_SCHEMA",
    "tls": "COTRAIN_TLS",
    "user": "DJ_USER",
}


@dataclass(frozen=True)
class DatabaseSettings:
    """What a client must know of a server; without a host the embedded database is meant."""

    host: str = ""
    port: int = 0
    backend: str = "mysql"
    user: str = ""
    password: str = field(default="", repr=False)
    name: str = ""
    schema: str = "cotrain"
    tls: str = "prefer"
    ca: str = ""
    embedded: bool = False

    @property
    def place(self) -> str:
        """The address, for messages."""
        return f"{self.host}:{self.port}"


def database_settings(*, schema: str | None = None) -> DatabaseSettings:
    """The settings as they are now; a `schema` that is given goes before them.

    Raises:
        ConfigError: One of them is wrong, or the password's file cannot be read.
        DatabaseError: No database takes the schema's name.
    """
    values, told = _values()
    if values.get("backend", "mysql") not in PORTS:
        known = did_you_mean(values["backend"], list(PORTS))
        raise ConfigError(f"{told['backend']} must be postgresql or mysql, found {values['backend']!r}.{known}")
    backend = values.get("backend", "mysql")
    port = str(values.get("port", PORTS[backend]))
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{told['port']} must be a port's number, 1 to 65535, found {values['port']!r}.")
    tls = values.get("tls", {"true": "require", "false": "off"}.get(os.environ.get("DJ_USE_TLS", "").lower(), "prefer"))
    if tls not in TLS:
        raise ConfigError(f"{told['tls']} must be one of {', '.join(TLS)}, found {tls!r}.{did_you_mean(tls, TLS)}")
    ca = values.get("ca", "")
    if tls == "verify" and not Path(ca).expanduser().is_file():
        wrong = f"{told['ca']} names {ca}, which is no file" if ca else "none is named"
        raise ConfigError(f"TLS that verifies needs a file of certificates (COTRAIN_TLS_CA, or ca in a file): {wrong}.")
    name = schema or values.get("schema", "cotrain")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise DatabaseError(f"A schema's name is small letters, digits and '_', found {name!r}.")
    return DatabaseSettings(
        host=values.get("host", ""),
        port=int(port),
        backend=backend,
        user=values.get("user", ""),
        password=_password(values, told) if values.get("host") else "",
        name=values.get("name", ""),
        schema=name,
        tls=tls,
        ca=str(Path(ca).expanduser()) if ca else "",
    )


def _values() -> tuple[dict[str, Any], dict[str, str]]:
    """The settings that are there, and where each was told."""
    path, table = database_table()
    for name, value in table.items():
        if name == "password":
            raise ConfigError(
                f"{path}: a password does not belong here, where others read it. Write it into a file that only you "
                "can read, and name that as password_file."
            )
        if name not in VARIABLES:
            raise ConfigError(f"{path}: [database] has no setting {name!r}.{did_you_mean(name, list(VARIABLES))}")
        wanted = int if name == "port" else str
        if type(value) is not wanted:
            kind = "a whole number" if wanted is int else "text in quotes"
            raise ConfigError(f"{path}: [database] {name} must be {kind}, found {value!r}.")
    values, told = dict(table), {name: f"{path}: [database] {name}" for name in table}
    for name, variable in VARIABLES.items():
        value = os.environ.get(variable, "")
        if value or (name == "host" and variable in os.environ):
            values[name], told[name] = value, variable
    return values, told


def _password(values: dict[str, Any], told: dict[str, str]) -> str:
    if "password_file" not in values or (os.environ.get("DJ_PASS") and told["password_file"] != "DJ_PASS_FILE"):
        return os.environ.get("DJ_PASS", "")
    if os.environ.get("DJ_PASS"):
        raise ConfigError("Both DJ_PASS and DJ_PASS_FILE are set. Unset one: which password is meant?")
    try:
        return Path(values["password_file"]).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(
            f"{told['password_file']} names {values['password_file']}, which should hold the password: {reason}."
        ) from None
