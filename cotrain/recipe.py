"""Experiments as classes: what is asked, what is varied, and what is held."""

from __future__ import annotations

import contextvars
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from importlib import import_module
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any, ClassVar, Self

from cotrain._yaml import read_yaml, write_yaml
from cotrain.config import Config, content_key
from cotrain.errors import BuilderError, ConfigError, CotrainError, RecipeError, did_you_mean
from cotrain.resolve import read_config, resolve
from cotrain.settings import allowed_packages

KEY_SCHEME = "cotrain-experiment/1"
PARTS = ("data", "model", "trainer")

# While a recipe is expanded, `vary` reports its errors here and goes on, so that all of them are shown at once.
_collected: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("collected", default=None)


@dataclass(frozen=True)
class Experiment:
    """One cell of a recipe: a label for people; configs and a seed for the machine.

    Args:
        label: What people call it; not part of its key.
        data: Config of a data builder.
        model: Config of a model builder.
        trainer: Config of a trainer builder.
        seed: Root of the seed tree (`cotrain.seeds`), 0 or larger.
    """

    label: str
    data: Config
    model: Config
    trainer: Config
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            f"{part} must be a config, found {getattr(self, part)!r}"
            for part in PARTS
            if not isinstance(getattr(self, part), Config)
        ]
        if not isinstance(self.label, str) or not self.label.strip() or len(self.label) > 128:
            problems.append(f"label must be 1 to 128 characters of text, found {self.label!r}")
        if type(self.seed) is not int or not 0 <= self.seed < 2**31:
            problems.append(f"seed must be a whole number from 0 to 2147483647, found {self.seed!r}")
        if problems:
            raise RecipeError(f"Experiment {self.label!r}: {'; '.join(problems)}.")

    def vary(
        self,
        label: str,
        *,
        data: Mapping[str, Any] | Config | None = None,
        model: Mapping[str, Any] | Config | None = None,
        trainer: Mapping[str, Any] | Config | None = None,
        seed: int | None = None,
    ) -> Self:
        """A copy under a new label with some parts changed.

        Args:
            label: The copy's label.
            data, model, trainer: Fields to change (see `Config.replace`), or a whole config instead.
            seed: Another seed.

        Raises:
            ConfigError: Unknown names or wrong values, those of all three parts listed together.
        """
        changes: dict[str, Any] = {"label": label} if seed is None else {"label": label, "seed": seed}
        problems: list[str] = []
        for part, change in (("data", data), ("model", model), ("trainer", trainer)):
            try:
                if not isinstance(change, (Config, Mapping, NoneType)):
                    raise ConfigError(f"expected fields to change, or a config, found {change!r}")
                if change is not None:
                    held: Config = getattr(self, part)
                    changes[part] = change if isinstance(change, Config) else held.replace(**change)
            except ConfigError as error:
                problems.append(f"{part}: {error}")
        if problems and (collected := _collected.get()) is not None:
            collected.extend(f"{label!r}, {problem}" for problem in problems)
        elif problems:
            raise ConfigError(f"{label!r}: " + "\n".join(problems))
        return replaced(self, **changes)

    def identity(self) -> dict[str, Any]:
        """The keys of the parts, and the seed."""
        return {**{part: getattr(self, part).key() for part in PARTS}, "seed": self.seed}

    def key(self) -> str:
        """32 hexadecimal digits; equal for experiments that compute the same, whatever their labels."""
        return content_key(KEY_SCHEME, self.identity())

    def record(self) -> dict[str, Any]:
        """Everything, as JSON-ready values."""
        return {
            "label": self.label,
            **{part: getattr(self, part).record() for part in PARTS},
            "seed": self.seed,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, stored: bool = True) -> Self:
        """Read what `record` wrote; with `stored=False`, what a person wrote: defaults complete it.

        Raises:
            ConfigError: Names or values are wrong; those of all parts are listed together.
        """
        problems = [
            f"{name}: the stored record lacks it" for name in ("label", "seed") if stored and name not in record
        ]
        parts: dict[str, Config] = {}
        for name in record:
            if name not in (known := ("label", *PARTS, "seed")):
                problems.append(f"{name}: unknown name.{did_you_mean(str(name), known)}")
        for part in PARTS:
            try:
                if not isinstance(held := record.get(part), Mapping):
                    raise ConfigError("a config is required, a mapping with a 'kind'")
                parts[part] = read_config(held, stored=stored)
            except (ConfigError, BuilderError) as error:
                problems.append(f"{part}: {error}")
        if problems:
            raise ConfigError("This experiment has errors:\n" + "\n".join(problems))
        return cls(label=record.get("label", "unnamed"), **parts, seed=record.get("seed", 0))

    def to_yaml(self) -> str:
        """This experiment as YAML text."""
        return write_yaml(self.record())

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Read YAML text; fields that it leaves out get their defaults."""
        return cls.from_record(read_yaml(text), stored=False)


class Recipe:
    """Base of every recipe. Subclass it, ask a question in the docstring, yield the experiments.

    The docstring states the question in its first line, then the command, the time and the expected scores.
    Nothing is trained here: a recipe can be read, keyed and checked on any machine.
    """

    seeds: ClassVar[tuple[int, ...]] = (0,)

    def experiments(self) -> Iterator[Experiment]:
        """Yield the cells, each under its own label. `seeds` repeats all of them."""
        raise NotImplementedError(f"{type(self).__name__} must define experiments(self) and yield Experiment objects.")

    @classmethod
    def name(cls) -> str:
        """What the recipe is called in the database: its module's last name and its class."""
        return f"{cls.__module__.rpartition('.')[2].removeprefix('cotrain_recipe_')}.{cls.__name__}"

    @classmethod
    def question(cls) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]

    def expand(self) -> tuple[Experiment, ...]:
        """All experiments, each with each seed.

        Raises:
            RecipeError: Anything wrong with any of them, all listed: wrong fields, builders that do not resolve,
                labels used twice, two labels for the same experiment, no experiment at all.
        """
        problems: list[str] = []
        token = _collected.set(problems)
        cells: list[Experiment] = []
        try:
            for experiment in self.experiments():
                if not isinstance(experiment, Experiment):
                    raise RecipeError(f"experiments() must yield Experiment objects, found {experiment!r}")
                cells.append(experiment)
        except CotrainError as error:
            problems.append(str(error))
        finally:
            _collected.reset(token)
        problems += _unresolved(cells)
        if not problems:
            problems += _repeated(cells)
            if not cells:
                problems.append("it yields no experiments")
            problems += self._wrong_seeds(cells)
        if problems:
            count = f"{len(problems)} error{'s' * (len(problems) > 1)}"
            raise RecipeError(f"{type(self).__name__} has {count}:\n" + "\n".join(problems))
        return tuple(replaced(cell, seed=seed) for cell in cells for seed in self.seeds)

    def _wrong_seeds(self, cells: list[Experiment]) -> list[str]:
        seeds = self.seeds
        if not isinstance(seeds, Sequence) or not seeds or len(set(seeds)) != len(seeds):
            return [f"seeds must be a tuple of different whole numbers, at least one, found {seeds!r}"]
        return [
            f"{cell.label!r}: its seed {cell.seed} would be ignored; a recipe's seeds stand in `seeds`"
            for cell in cells
            if cell.seed != 0
        ]


def _unresolved(cells: list[Experiment]) -> list[str]:
    problems: dict[str, None] = {}
    for cell in cells:
        for part in PARTS:
            try:
                resolve(getattr(cell, part).kind)
            except BuilderError as error:
                problems[f"{cell.label!r}, {part}: {error}"] = None
    return list(problems)


def _repeated(cells: list[Experiment]) -> list[str]:
    problems: list[str] = []
    labels: set[str] = set()
    keys: dict[str, str] = {}
    for cell in cells:
        if cell.label in labels:
            problems.append(f"the label {cell.label!r} is used twice")
        labels.add(cell.label)
        other = keys.setdefault(replaced(cell, seed=0).key(), cell.label)
        if other != cell.label:
            problems.append(f"{other!r} and {cell.label!r} are the same experiment")
    return problems


def find_recipe(target: str) -> type[Recipe]:
    """The recipe class that a command line names.

    Args:
        target: A file (`recipes/digits_v1.py`), a dotted module of an allowed package
            (`cotrain.recipes.digits_v1`), or the bare name of a recipe that ships with cotrain (`digits_v1`);
            each may end in `:ClassName` where a module holds several.

    Raises:
        RecipeError: Nothing is there, or the module holds no recipe or several.
    """
    place, _, name = target.partition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_name(place)
    found = {
        c.__name__: c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Recipe) and c is not Recipe and c.__module__ == module.__name__
    }
    if name and name in found:
        return found[name]
    if name:
        raise RecipeError(f"{place} holds no recipe {name!r}.{did_you_mean(name, list(found))}")
    if len(found) != 1:
        what = f"several recipes; write {place}:{next(iter(found))}" if found else "no subclass of cotrain.Recipe"
        raise RecipeError(f"{place} holds {what}. Found: {', '.join(found) or 'none'}.")
    return next(iter(found.values()))


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise RecipeError(f"There is no recipe file {path} (looked from {Path.cwd()}).")
    shipped = Path(__file__).parent / "recipes"
    if path.resolve().parent == shipped.resolve():
        return import_module(f"cotrain.recipes.{path.stem}")
    name = "cotrain_recipe_" + re.sub(r"\W", "_", path.stem)  # never the name of an installed module
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _from_name(place: str) -> ModuleType:
    name = place if "." in place else f"cotrain.recipes.{place}"
    if name.partition(".")[0] not in allowed_packages():
        raise RecipeError(f"{place!r}: package not allowed; name the file, or allow it with COTRAIN_BUILDERS.")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise RecipeError(f"There is no recipe {place!r}: no module {error.name!r} and no file {place}.py.") from None
