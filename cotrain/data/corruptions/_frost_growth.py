"""Frost that grows: feathers of ice on a pane, each stopped by what stands in its way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SIZE = 480  # pixels a side; what leaves on one side comes in on the other
FINE = 256  # parts of a pixel
DIRECTIONS = 256
TURN = 16  # parts of a direction, for slow bends
THICKNESS = np.array([255, 190, 140])  # of stems, branches, twigs
FREE_STEPS = 3  # a new branch may touch what it sprang from
JITTER = 4  # directions that a branch's angle is off at most
ARM_JITTER = 12  # the same of the arms of a nucleus
LATEST = 60  # step at which the last nucleus begins

TRIG = (math.sin, math.cos)

Ints = np.ndarray


@dataclass(frozen=True)
class Habit:
    """How one kind of frost grows.

    Args:
        nuclei: Points at which crystals begin.
        arms: Stems of each.
        stem, branch, twig: Longest lives, steps of a pixel.
        spacing: Steps between branches on a stem and between twigs on a branch.
        angle: Between a stem and its branches, 256ths of a turn.
        bend: How much a stem may turn a step at most, 16ths of such a direction.
    """

    nuclei: int
    arms: int
    stem: int
    branch: int
    twig: int
    spacing: tuple[int, int]
    angle: int
    bend: int


@dataclass
class _Tips:
    """Growing ends, a number each: place in 256ths of a pixel, direction in 16ths of 256ths of a turn, and so on."""

    y: Ints
    x: Ints
    direction: Ints
    turn: Ints
    level: Ints
    age: Ints  # negative: begins later
    life: Ints
    span: Ints  # life at the beginning

    def chosen(self, which: Ints) -> _Tips:
        return _Tips(*(part[which] for part in vars(self).values()))

    def and_also(self, others: _Tips) -> _Tips:
        pairs = zip(vars(self).values(), vars(others).values(), strict=True)
        return _Tips(*(np.concatenate(pair) for pair in pairs))


class _Numbers:
    """Random numbers in the order in which they are asked for, again from the first one after the last."""

    def __init__(self, pool: Ints) -> None:
        self.pool, self.used = pool, 0

    def below(self, limit: int, count: int) -> Ints:
        """Whole numbers from 0 to limit - 1."""
        places = (self.used + np.arange(count)) % len(self.pool)
        self.used += count
        return self.pool[places] * limit >> 16


def grow(habit: Habit, pool: Ints) -> tuple[Ints, Ints]:
    """Let frost grow until all its ends have stopped.

    Each nucleus sends out stems. An end moves one pixel a step, bends a little, and springs branches to both sides at
    regular distances, and these twigs. An end stops where another has been, or when its life is over; so crystals fill
    the plane and meet in sharp seams, as on a window. Only whole numbers are used.

    Args:
        habit: How it grows.
        pool: Random numbers, 0 to 65535.

    Returns:
        Thickness of the ice, 0 to 255, and the direction in which it grew, 0 to 255; (480, 480) each.
    """
    numbers = _Numbers(pool)
    step = np.array([[round(trig(2 * math.pi * k / DIRECTIONS) * FINE) for k in range(DIRECTIONS)] for trig in TRIG])
    thickness, directions = np.zeros(SIZE**2, dtype=np.int64), np.zeros(SIZE**2, dtype=np.int64)
    tips = _nuclei(habit, numbers)
    while len(tips.age):
        heading = (tips.direction // TURN) % DIRECTIONS
        grows = tips.age >= 0
        before = _cell(tips)
        tips.y = (tips.y + grows * step[0][heading]) % (SIZE * FINE)
        tips.x = (tips.x + grows * step[1][heading]) % (SIZE * FINE)
        cell = _cell(tips)
        is_free = (cell == before) | (thickness[cell] == 0) | (tips.age < FREE_STEPS)
        lives = ~grows | (is_free & (tips.life > 0))
        marks = lives & grows
        # towards its end a branch thins to a third
        thick = THICKNESS[tips.level] * (2 * tips.life + tips.span) // (3 * tips.span)
        np.maximum.at(thickness, cell[marks], thick[marks])
        directions[cell[marks]] = heading[marks]
        tips.direction = tips.direction + tips.turn
        tips.life = tips.life - grows
        tips.age = tips.age + 1
        tips = tips.chosen(lives)
        tips = tips.and_also(_branches(tips, habit, numbers))
    return thickness.reshape(SIZE, SIZE), directions.reshape(SIZE, SIZE)


def _cell(tips: _Tips) -> Ints:
    cell: Ints = (tips.y // FINE) * SIZE + tips.x // FINE
    return cell


def _nuclei(habit: Habit, numbers: _Numbers) -> _Tips:
    y, x = (np.repeat(numbers.below(SIZE * FINE, habit.nuclei), habit.arms) for _ in range(2))
    first = np.repeat(numbers.below(DIRECTIONS, habit.nuclei), habit.arms)
    start = np.repeat(numbers.below(LATEST, habit.nuclei), habit.arms)
    count = len(y)
    around = np.tile(np.arange(habit.arms) * DIRECTIONS // habit.arms, habit.nuclei)
    heading = first + around + numbers.below(2 * ARM_JITTER, count) - ARM_JITTER
    life = habit.stem // 2 + numbers.below(habit.stem, count)
    turn = numbers.below(2 * habit.bend + 1, count) - habit.bend
    return _Tips(y, x, heading * TURN, turn, np.zeros_like(y), -start, life, life)


def _branches(tips: _Tips, habit: Habit, numbers: _Numbers) -> _Tips:
    """To both sides of the ends that are due."""
    spacing = np.array([*habit.spacing, 1])[tips.level]
    due = np.flatnonzero((tips.level < 2) & (tips.age > 0) & (tips.age % spacing == 0))
    parents = tips.chosen(np.concatenate([due, due]))
    count = len(parents.age)
    side = np.repeat([1, -1], len(due))
    heading = parents.direction + TURN * (side * habit.angle + numbers.below(2 * JITTER + 1, count) - JITTER)
    longest = np.minimum(np.where(parents.level == 0, habit.branch, habit.twig), parents.life)
    life = np.maximum(longest * (32768 + numbers.below(65536, count)) >> 16, 2)
    turn = -side * (habit.bend // 4)
    return _Tips(parents.y, parents.x, heading, turn, parents.level + 1, np.zeros_like(life), life, life)
