"""The picture of the schema."""

import re
from itertools import pairwise

import pytest
from PIL import Image

from cotrain.tables import upgrade
from cotrain.tables.diagram import _arrange, _assign_columns, _Node, _path, references


def boxes(lab):
    """Every box and place of the layout, by column."""
    edges = references()
    nodes = {table: _Node(table) for table in upgrade.tables()}
    _assign_columns(nodes, edges)
    paths = [_path(nodes[first], nodes[second]) for first, second, _ in edges]
    columns = {}
    for node in dict.fromkeys([*nodes.values(), *(node for path in paths for node in path)]):
        columns.setdefault(node.column, []).append(node)
    _arrange(list(columns.values()))
    return nodes, columns


def test_no_box_lies_on_another_and_arrows_lead_to_the_right(lab):
    nodes, columns = boxes(lab)
    assert len(nodes) >= 19
    for column in columns.values():
        column.sort(key=lambda node: -node.y)
        for above, below in pairwise(column):
            assert above.y - above.height / 2 > below.y + below.height / 2
    for first, second, _ in references():
        assert nodes[first].column < nodes[second].column


def test_references_are_those_of_the_server(lab):
    from cotrain.tables.configs import schema

    schema.connection.dependencies.load()
    held = {(parent, child) for parent, child, *_ in schema.connection.dependencies.edges}
    assert {(first.full_table_name, second.full_table_name) for first, second, _ in references()} == held


def test_pictures_are_written(lab, command, tmp_path):
    for name in ("schema.png", "schema.svg", "schema.md"):
        status, out, err = command("db", "diagram", "--out", str(tmp_path / name))
        assert (status, out, err) == (0, f"picture: {tmp_path / name}\n", "")
    with Image.open(tmp_path / "schema.png") as image:
        assert image.width > 1000 < image.height * 3
    assert (tmp_path / "schema.svg").read_text().startswith("<?xml")
    text = (tmp_path / "schema.md").read_text()
    assert text.startswith("```mermaid\nflowchart LR\n")
    assert len(re.findall(r"-->|-\.->", text)) == len(references())
    assert "trained_model[TrainedModel]:::computed" in text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("schema.pdf", r"A diagram is a \.png, \.svg or \.md file, found 'schema\.pdf'\."),
        ("no/s.png", "no folder .*/no "),
    ],
)
def test_files_that_cannot_be_written(name, told, lab, command, tmp_path):
    status, _, err = command("db", "diagram", "--out", str(tmp_path / name))
    assert status == 1
    assert re.search(told, err)
