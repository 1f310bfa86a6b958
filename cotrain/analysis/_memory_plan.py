"""What extraction will need, told before it begins; and which layers go through a pass together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cotrain.analysis._places import Place
from cotrain.analysis._reductions import AveragePool, Cost, Gram, Reduction, SparseProjection
from cotrain.errors import ModelError

NAMED = 5  # layers that an error lists


@dataclass(frozen=True)
class Plan:
    """Bytes that extraction holds.

    Args:
        stimuli: How many images.
        itemsize: Bytes of a kept number.
        spilled: Whether features lie on disk.
        waits: Whether all features are held, in float32, until the last image has passed.
        passing: For one batch: the network's largest tensors, and copies of them.
        costs: Of each layer.
    """

    stimuli: int
    itemsize: int
    spilled: bool
    waits: bool
    passing: int
    costs: Mapping[str, Cost]

    def kept(self, name: str) -> int:
        """In the end."""
        return 0 if self.spilled else self.stimuli * self.costs[name].kept * self.itemsize

    def held(self, name: str) -> int:
        """While images pass, beside what is kept."""
        cost = self.costs[name]
        waiting = 4 * self.stimuli * cost.columns if self.waits and not self.spilled else 0
        return waiting + cost.scratch

    @property
    def fixed(self) -> int:
        """Whatever the order of layers."""
        beside = max(self.passing, max(cost.last for cost in self.costs.values()))  # one comes after the other
        return beside + sum(self.kept(name) for name in self.costs)

    @property
    def least(self) -> int:
        """With as many passes as are needed."""
        return self.fixed + max(self.held(name) for name in self.costs)

    def groups(self, budget: float | None) -> list[list[str]]:
        """Layers that are held together, in order; one group where they all fit."""
        found: list[list[str]] = [[]]
        total = 0
        for name in self.costs:
            if found[-1] and budget is not None and self.fixed + total + self.held(name) > budget:
                found.append([])
                total = 0
            found[-1].append(name)
            total += self.held(name)
        return found


def passing_bytes(batch: int, largest: int, places: Sequence[Place]) -> int:
    """For a batch: input and output of the network's largest layer, and a copy of the largest that is wanted."""
    return batch * (2 * largest + 2 * max(4 * place.features for place in places))


def require_fit(plan: Plan, budget: float, places: Mapping[str, Place], reduction: Reduction, batch: int) -> None:
    """Refuse what does not fit, and say what would.

    Raises:
        ModelError: More is needed than the budget.
    """
    if plan.least <= budget:
        return
    sizes = {name: plan.kept(name) + plan.held(name) for name in plan.costs}
    biggest = sorted(sizes, key=lambda name: -sizes[name])[:NAMED]
    listed = "; ".join(f"{name}: {places[name].features:,} features, {readable(sizes[name])}" for name in biggest)
    raise ModelError(
        f"Features of {len(places)} layers for {plan.stimuli:,} images need {readable(plan.least)}, more than the "
        f"memory budget of {readable(budget)}. The largest are {listed}. "
        f"{_advice(plan, budget, places, reduction, batch)}"
    )


def _advice(plan: Plan, budget: float, places: Mapping[str, Place], reduction: Reduction, batch: int) -> str:
    fitting = []
    for other in (SparseProjection(), Gram(), AveragePool()):
        if type(other) is type(reduction):
            continue
        costs = {name: other.cost(place.shape, plan.stimuli) for name, place in places.items()}
        if (need := replace(plan, costs=costs, waits=other.waits).least) <= budget:
            fitting.append(f"reduce={type(other).__name__}() ({readable(need)})")
    if not plan.spilled:
        need = replace(plan, spilled=True).least
        if need <= budget:
            fitting.append(f"a folder as spill ({readable(need)})")
    if plan.itemsize == 4:
        need = replace(plan, itemsize=2).least
        if need <= budget:
            fitting.append(f"dtype='float16' ({readable(need)})")
    single = replace(plan, passing=plan.passing // min(batch, plan.stimuli))
    if batch > 1 and single.least <= budget:
        fitting.append(f"smaller batches than {batch} (one takes {readable(plan.passing)})")
    small = _first_layers(plan, budget)
    if small:
        fitting.append(f"the {small} smallest of these layers at a time")
    return f"What would fit: {', or '.join(fitting)}." if fitting else "Nothing smaller fits: raise the budget."


def _first_layers(plan: Plan, budget: float) -> int:
    sizes = sorted(plan.kept(name) + plan.held(name) for name in plan.costs)
    total, count = plan.passing, 0
    for size in sizes:
        total += size
        if total > budget:
            break
        count += 1
    return count


def readable(size: float) -> str:
    """Bytes for people.

    >>> readable(3_600_000_000), readable(512)
    ('3.6 GB', '512 bytes')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"
