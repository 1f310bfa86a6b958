"""A picture of the schema: tables in columns, each to the right of those that it refers to."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from cotrain.errors import DatabaseError
from cotrain.tables._datajoint import dj
from cotrain.tables.upgrade import REFERENCE, columns, lines, parent, tables

COLOURS = {"entered": "#d5ead8", "computed": "#f6d9d5", "part": "#ececec"}
WIDTH, HEIGHT, GAP, BETWEEN = 2.5, 0.98, 0.26, 1.1  # inches: a box, below it, and beside it
LANE = 0.22  # height of an edge that passes a column
SWEEPS = 24


@dataclass(eq=False)
class _Node:
    """A table, or (without one) the place where an edge passes a column."""

    table: Any = None
    column: int = 0
    y: float = 0.0
    left: list[_Node] = field(default_factory=list)
    right: list[_Node] = field(default_factory=list)

    @property
    def height(self) -> float:
        return HEIGHT if self.table else LANE


def draw(path: Path) -> None:
    """Write the diagram of the schema that is connected: .png or .svg, or .md for a text in Mermaid's language.

    Raises:
        DatabaseError: The file's name ends otherwise.
    """
    if path.suffix == ".md":
        path.write_text(f"```mermaid\n{_mermaid()}\n```\n", encoding="utf-8")
    elif path.suffix in (".png", ".svg"):
        _figure().savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)
    else:
        raise DatabaseError(f"A diagram is a .png, .svg or .md file, found {path.name!r}.")


def references() -> list[tuple[Any, Any, bool]]:
    """Every foreign key: (table referred to, table that refers, whether it is in the primary key)."""
    return [
        (parent(table, found["parent"]), table, in_key)
        for table in tables()
        for line, in_key in lines(table)
        if (found := REFERENCE.match(line))
    ]


def _mermaid() -> str:
    # not DataJoint's make_mermaid: of PostgreSQL's names it makes what Mermaid cannot read
    tiers = [f"  classDef {tier} fill:{colour},stroke:#4a5560" for tier, colour in COLOURS.items()]
    boxes = [f"  {table.table_name.lstrip('_')}[{table.__qualname__}]:::{_tier(table)}" for table in tables()]
    arrows = [
        f"  {first.table_name.lstrip('_')} {'-->' if in_key else '-.->'} {second.table_name.lstrip('_')}"
        for first, second, in_key in references()
    ]
    return "\n".join(["flowchart LR", *tiers, *boxes, *arrows])


def _figure() -> Any:
    from matplotlib.figure import Figure

    edges = references()
    nodes = {table: _Node(table) for table in tables()}
    _assign_columns(nodes, edges)
    paths = [(_path(nodes[first], nodes[second]), in_key) for first, second, in_key in edges]
    places: list[list[_Node]] = [[] for _ in range(1 + max(node.column for node in nodes.values()))]
    for node in dict.fromkeys([*nodes.values(), *(node for path, _ in paths for node in path)]):
        places[node.column].append(node)
    _arrange(places)
    low = min(node.y - node.height / 2 for place in places for node in place) - 0.6
    high = max(node.y + node.height / 2 for place in places for node in place) + 0.2
    wide = len(places) * (WIDTH + BETWEEN) - BETWEEN + 0.4
    figure = Figure(figsize=(wide, high - low))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.2, wide - 0.2), ylim=(low, high))
    axes.axis("off")
    for path, in_key in paths:
        _draw_edge(axes, path, in_key)
    for node in nodes.values():
        _draw_box(axes, node)
    _draw_legend(axes, low + 0.3)
    return figure


def _assign_columns(nodes: dict[Any, _Node], edges: Sequence[tuple[Any, Any, bool]]) -> None:
    for _ in nodes:  # the longest way decides, and no way is longer than there are tables
        for first, second, _ in edges:
            nodes[second].column = max(nodes[second].column, nodes[first].column + 1)
    for table in reversed(list(nodes)):  # as near as can be to what refers to it
        after = [nodes[second].column for first, second, _ in edges if first is table]
        nodes[table].column = min(after, default=nodes[table].column + 1) - 1


def _path(first: _Node, last: _Node) -> list[_Node]:
    """From box to box, with a place in each column between."""
    path = [first, *(_Node(column=column) for column in range(first.column + 1, last.column)), last]
    for left, right in pairwise(path):
        left.right.append(right)
        right.left.append(left)
    return path


def _arrange(columns: list[list[_Node]]) -> None:
    """Order the boxes of each column by the mean place of their neighbours, then pull them towards it."""
    for column in columns:
        _stack(column, [float(-place) for place in range(len(column))])
    best, least = [list(column) for column in columns], _crossings(columns)
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            side = "left" if sweep % 2 == 0 else "right"
            means = {node: _mean(getattr(node, side), node.y) for node in column}
            column.sort(key=lambda node, means=means: -means[node])  # type: ignore[misc]
            _stack(column, [means[node] for node in column])
        if (now := _crossings(columns)) < least:
            best, least = [list(column) for column in columns], now
    columns[:] = best
    for _ in range(SWEEPS):
        for column in (*columns, *columns[::-1]):
            _stack(column, [_mean(node.left + node.right, node.y) for node in column])


def _mean(nodes: list[_Node], otherwise: float) -> float:
    return sum(node.y for node in nodes) / len(nodes) if nodes else otherwise


def _stack(column: list[_Node], wanted: list[float]) -> None:
    """Place a column's boxes, from above, as near as can be to where they are wanted, none on another."""
    groups: list[tuple[float, list[int], float]] = []  # (middle that is wanted, members, height)
    for number, place in enumerate(wanted):
        middle, members, height = place, [number], column[number].height + GAP
        while groups and groups[-1][0] - groups[-1][2] / 2 < middle + height / 2:
            above, others, theirs = groups.pop()
            top = (len(others) * (above + theirs / 2) + len(members) * (middle + height / 2 + theirs)) / (
                len(others) + len(members)
            )
            members, height = [*others, *members], height + theirs
            middle = top - height / 2
        groups.append((middle, members, height))
    for middle, members, height in groups:
        y = middle + height / 2
        for number in members:
            own = column[number].height + GAP
            column[number].y, y = y - own / 2, y - own


def _crossings(columns: list[list[_Node]]) -> int:
    count = 0
    for column in columns:
        edges = [(node.y, other.y) for node in column for other in node.right]
        count += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(edges) for c, d in edges[:i])
    return count


def _x(node: _Node) -> float:
    return node.column * (WIDTH + BETWEEN)


def _port(node: _Node, other: _Node, neighbours: list[_Node]) -> float:
    """Where an edge meets a box: one below the other, in the order of where they lead."""
    order = sorted(neighbours, key=lambda found: -found.y)
    return node.y + node.height * 0.6 * (0.5 - (order.index(other) + 1) / (len(order) + 1))


def _draw_edge(axes: Any, path: list[_Node], in_key: bool) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    points: list[tuple[float, float]] = []
    codes: list[Any] = []
    for left, right in pairwise(path):
        start = _x(left) + WIDTH, _port(left, right, left.right)
        end = _x(right), _port(right, left, right.left)
        bend = BETWEEN * 0.55
        points += [start, (start[0] + bend, start[1]), (end[0] - bend, end[1]), end]
        codes += [Curve.LINETO if codes else Curve.MOVETO, *[Curve.CURVE4] * 3]
    arrow = FancyArrowPatch(path=Curve(points, codes), arrowstyle="-|>", mutation_scale=10, shrinkA=0, shrinkB=0)
    arrow.set(color="#4a5560", linewidth=1.3 if in_key else 1.0, linestyle="-" if in_key else (0, (4, 2)))
    axes.add_patch(arrow)


def _draw_box(axes: Any, node: _Node) -> None:
    from matplotlib.patches import FancyBboxPatch

    box = FancyBboxPatch(
        (_x(node), node.y - HEIGHT / 2),
        WIDTH,
        HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=COLOURS[_tier(node.table)],
        edgecolor="#4a5560",
        linewidth=0.8,
    )
    axes.add_patch(box)
    comment = node.table.definition.strip().splitlines()[0].lstrip("# ")
    text = "\n".join(textwrap.wrap(comment, 40, max_lines=2, placeholder=" ..."))
    x, top = _x(node) + 0.12, node.y + HEIGHT / 2
    axes.text(x, top - 0.1, node.table.__qualname__, weight="bold", fontsize=10, va="top")
    axes.text(x, top - 0.36, text, fontsize=7.5, va="top", color="#333333", linespacing=1.25)
    keys = textwrap.shorten(
        ", ".join(column.name for column in columns(node.table) if column.in_key), 46, placeholder=" ..."
    )
    axes.text(x, node.y - HEIGHT / 2 + 0.1, keys, fontsize=7, color="#4a5560", style="italic")


def _draw_legend(axes: Any, y: float) -> None:
    from matplotlib.patches import Rectangle

    x = 0.0
    tiers = {"entered": "rows are entered", "computed": "rows are computed", "part": "part of a table"}
    for tier, name in tiers.items():
        axes.add_patch(
            Rectangle((x, y - 0.08), 0.28, 0.16, facecolor=COLOURS[tier], edgecolor="#4a5560", linewidth=0.8)
        )
        axes.text(x + 0.38, y, name, fontsize=8, va="center")
        x += 1.75
    text = (
        "in italics: the primary key; an arrow leads to the table that refers to the other, dashed: outside of its key"
    )
    axes.text(x, y, text, fontsize=8, va="center")


def _tier(table: Any) -> str:
    if issubclass(table, dj.Part):
        return "part"
    return "computed" if issubclass(table, dj.Computed) else "entered"
