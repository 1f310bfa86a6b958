"""Builders and configs of a lab: every type that a field may have, and one of each kind of builder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Lt

from cotrain import AnyConfig, Config, NotIdentity

if TYPE_CHECKING:
    from cotrain.data import Info  # names that exist for type checkers alone must not hinder `resolve`


class FishConfig(Config):
    """A config without a builder, always a part of another."""

    kind: ClassVar[str] = "mylab.builders.FishConfig"
    name: str = "carp"
    length: Annotated[float, Gt(0)] = 0.3


class ReedConfig(Config):
    kind: ClassVar[str] = "mylab.builders.ReedConfig"
    stems: Annotated[int, Ge(0)] = 5


class PondConfig(Config):
    kind: ClassVar[str] = "mylab.builders.pond"
    frogs: Annotated[int, Ge(0), Lt(100)] = 3
    depth: float = 0.5
    colour: Literal["green", "blue"] = "green"
    fish: FishConfig = FishConfig()
    workers: Annotated[int, NotIdentity()] = 4


def pond(config: PondConfig, *, seed: int) -> tuple[str, int, int]:
    return "pond", config.frogs, seed


class NetConfig(Config):
    kind: ClassVar[str] = "mylab.builders.net"
    width: Annotated[int, Ge(1)] = 8
    part: AnyConfig | None = None
    parts: tuple[AnyConfig, ...] = ()


def net(info: Info, config: NetConfig, *, seed: int) -> tuple[Any, int, int]:
    return info, config.width, seed


class TrainerConfig(Config):
    kind: ClassVar[str] = "mylab.builders.trainer"
    epochs: Annotated[int, Ge(1)] = 1
    lr: float = 0.1
    optimiser: AnyConfig = FishConfig()


def trainer(config: TrainerConfig) -> int:
    return config.epochs


class EverythingConfig(Config):
    """A field of each allowed type."""

    kind: ClassVar[str] = "mylab.builders.EverythingConfig"
    none: None
    truth: bool
    whole: int
    number: float
    text: str
    choice: Literal["no", "yes", "1", 1, None]
    mixed: int | str | bool | None
    maybe: float | None
    pair: tuple[int, str]
    row: tuple[float, ...]
    empty: tuple[()]
    schedule: tuple[tuple[int, tuple[tuple[str, float], ...]], ...]
    fish: FishConfig
    pond: FishConfig | ReedConfig | None
    school: tuple[FishConfig | ReedConfig, ...]
    any: AnyConfig | None
    anys: tuple[AnyConfig, ...]


def no_config(info: int) -> int:
    return info


def unannotated(config, *, seed):
    return config, seed


def plain_mapping(config: dict[str, int]) -> int:
    return len(config)


def borrowed(config: PondConfig) -> int:
    """A function that takes a config of another builder: not the builder of that config, nor of its own name."""
    return config.frogs


def unreadable(config: Nowhere) -> int:  # noqa: F821
    return 0


def misspelt(config: builders.Nowhere | 3) -> int:  # noqa: F821
    return 0


def ungrammatical(config: "PondConfig |") -> int:
    return 0


def _private(config: PondConfig) -> int:
    return 0
