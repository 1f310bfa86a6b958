"""Where things are on this machine: read from environment variables, else from `cotrain.toml`, else defaults.

Nothing here enters an experiment's key: two machines may keep the same data in different folders.

| what | environment | cotrain.toml | default |
|---|---|---|---|
| folder of the data files | `COTRAIN_DATA` | `data` | `./data` |
| runs, checkpoints, embedded database | `COTRAIN_HOME` | `home` | `./cotrain_home` |
| decoded images, for any number of runs | `COTRAIN_CACHE` | `cache` | `cache/` in the home folder |
| packages whose builders may be imported | `COTRAIN_BUILDERS` (commas) | `builders` (list) | `cotrain` alone |
| the lab's database | see `cotrain.tables.settings` | table `[database]` | the embedded one |

`cotrain.toml` is read from the current folder, or from the file that `COTRAIN_SETTINGS` names.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from cotrain.errors import ConfigError, did_you_mean

KNOWN = ("builders", "cache", "data", "database", "home")


def data_folder() -> Path:
    """The folder that relative paths of data configs start from."""
    return Path(os.environ.get("COTRAIN_DATA") or _file().get("data", "data")).expanduser()


def home_folder() -> Path:
    """The folder in which cotrain keeps runs, checkpoints and the embedded database."""
    return Path(os.environ.get("COTRAIN_HOME") or _file().get("home", "cotrain_home")).expanduser()


def cache_folder() -> Path:
    """The folder of what can be made again from the data files; it may be deleted while nothing runs."""
    named = os.environ.get("COTRAIN_CACHE") or _file().get("cache")
    return Path(named).expanduser() if named else home_folder() / "cache"


def allowed_packages() -> tuple[str, ...]:
    """The top-level packages from which `resolve` may import builders; `cotrain` is always one of them."""
    named = os.environ.get("COTRAIN_BUILDERS")
    more = named.split(",") if named is not None else _file().get("builders", [])
    return ("cotrain", *(name.strip() for name in more if name.strip()))


def database_table() -> tuple[str, dict[str, Any]]:
    """The file of settings, and its table `[database]`, empty where it has none."""
    return os.environ.get("COTRAIN_SETTINGS", "cotrain.toml"), _file().get("database", {})


def _file() -> dict[str, Any]:
    path = Path(os.environ.get("COTRAIN_SETTINGS", "cotrain.toml"))
    if not path.is_file():
        if "COTRAIN_SETTINGS" in os.environ:
            raise ConfigError(f"COTRAIN_SETTINGS names {path}, which is no file. Correct or unset it.")
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from None
    for name, value in content.items():
        if name not in KNOWN:
            raise ConfigError(f"{path}: unknown setting {name!r}.{did_you_mean(name, KNOWN)}")
        if name == "database":
            if not isinstance(value, dict):
                raise ConfigError(f"{path}: database must be a table, written as [database], found {value!r}.")
            continue
        wanted = list if name == "builders" else str
        if not isinstance(value, wanted) or not all(isinstance(part, str) for part in value):
            kind = "a list of package names" if wanted is list else "text in quotes"
            raise ConfigError(f"{path}: {name} must be {kind}, found {value!r}.")
    return content
