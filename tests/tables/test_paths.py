"""Values of configs that are searched: whole paths and ends of them, comparisons, and fields that older rows lack."""

import importlib

import pytest

from cotrain.errors import ConfigError
from cotrain.tables.conditions import parse_condition, parse_score
from cotrain.tables.configs import Dataset, leaves
from cotrain.tables.paths import having, meant_paths, stored_paths, values_at

LAKE = """
from typing import Annotated, ClassVar
from cotrain import AddedLater, Config
from cotrain.resolve import AnyConfig

class BoatConfig(Config):
    '''A boat, with sails since its second release.'''
    kind: ClassVar[str] = "lakelab.boat"
    length: float = 3.0
    sails: Annotated[int, AddedLater(neutral=0)] = 2
    sail: Annotated[str, AddedLater(neutral="none")] = "lug"

class LakeConfig(Config):
    '''A lake.'''
    kind: ClassVar[str] = "lakelab.lake"
    depth: float = 3.0
    boat: AnyConfig = BoatConfig()
    depths: Annotated[tuple[float, ...], AddedLater(neutral=(1.0, 2.0))] = ()
    closed: Annotated[bool | None, AddedLater(neutral=None)] = None

def boat(config: BoatConfig): ...
def lake(config: LakeConfig): ...
"""


@pytest.fixture(scope="module")
def lakes(lab, tmp_path_factory):
    """Rows of three lakes: one of the first release, two of today's."""
    folder = tmp_path_factory.mktemp("lakelab")
    (folder / "lakelab.py").write_text(LAKE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("COTRAIN_BUILDERS", "lakelab")
        module = importlib.import_module("lakelab")
        record = {"kind": "lakelab.lake", "depth": 4.0, "boat": {"kind": "lakelab.boat", "length": 5.0}}
        Dataset.insert1({"dataset_key": "old", "dataset_kind": "lakelab.lake", "dataset_config": record})
        Dataset.Attr.insert({"dataset_key": "old", "path": p, "num": n, "txt": t} for p, n, t in leaves(record))
        new = module.LakeConfig(depths=(1.0, 3.0))
        bare = module.LakeConfig(depth=5.0, boat=module.BoatConfig(sails=0, sail="none"), closed=True)
        names = {"old": "old", Dataset.add(new)["dataset_key"]: "new", Dataset.add(bare)["dataset_key"]: "bare"}
        yield names


@pytest.mark.parametrize(
    ("path", "sign", "value", "found"),
    [
        ("depth", "=", 4, {"old"}),
        ("depth", ">=", 4, {"old", "bare"}),
        ("depth", ">", 4, {"bare"}),
        ("depth", "<", 4.0, {"new"}),
        ("depth", "<=", 4.0, {"old", "new"}),
        ("depth", "!=", 4, {"new", "bare"}),
        ("boat.length", ">", 3, {"old"}),
        ("length", ">", 3, {"old"}),
        ("ength", ">", 3, set()),
        # what the first release did not write
        ("boat.sails", "=", 0, {"old", "bare"}),
        ("boat.sails", "=", 2, {"new"}),
        ("sails", "<", 1, {"old", "bare"}),
        ("sails", "!=", 0, {"new"}),
        ("sail", "=", "none", {"old", "bare"}),
        ("sail", "!=", "none", {"new"}),
        ("closed", "=", None, {"old", "new"}),
        ("closed", "=", True, {"bare"}),
        ("depths[0]", "=", 1, {"old", "new"}),
        ("depths[1]", "=", 2, {"old"}),
        ("depths", "=", "[]", {"bare"}),
        ("depths[2]", "=", 2, set()),
        ("boat.kind", "=", "lakelab.boat", {"old", "new", "bare"}),
    ],
)
def test_configs_are_found(path, sign, value, found, lakes):
    rows = (Dataset() & having(Dataset, path, value, sign)).proj().to_dicts()
    assert {lakes[row["dataset_key"]] for row in rows} == found


def test_a_field_that_no_row_has_is_found_by_its_neutral_value(lakes):
    later = {"path": ["boat.sail", "boat.sails", "closed"]}
    kept = (Dataset.Attr() & [{"path": path} for path in later["path"]]).to_dicts()
    (Dataset.Attr() & [{"path": path} for path in later["path"]]).delete_quick()
    try:
        assert "boat.sails" not in stored_paths(Dataset)
        assert meant_paths([(Dataset, "sails")]) == [(Dataset, "boat.sails")]
        assert len(Dataset.where(sails=0)) == len(Dataset.where(**{"boat.sail": "none"})) == 3
        assert len(Dataset.where(sails=1)) == len(Dataset.where(closed=False)) == 0
    finally:
        Dataset.Attr.insert(kept)


def test_values_are_told_with_the_neutral_ones(lakes):
    assert {lakes[key]: text for key, text in values_at(Dataset, "boat.sails").items()} == {
        "old": "0",
        "new": "2",
        "bare": "0",
    }
    assert {lakes[key]: text for key, text in values_at(Dataset, "depths[1]").items()} == {"old": "2.0", "new": "3.0"}


def test_all_paths_are_known(lakes):
    expected = {"kind", "depth", "boat.kind", "boat.length", "boat.sails", "boat.sail", "depths", "closed"}
    assert set(stored_paths(Dataset)) == expected | {"depths[0]", "depths[1]"}


# --- text ---


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lr=1e-3", ("lr", "=", 0.001)),
        ("lr >= 1e-3", ("lr", ">=", 0.001)),
        ("epochs<20", ("epochs", "<", 20)),
        ("data.path!=a=b", ("data.path", "!=", "a=b")),
        ("data.path=", ("data.path", "=", "")),
        ("mixing.ratios@1.v4==2", ("mixing.ratios@1.v4", "==", 2)),
        ("clip_norm=null", ("clip_norm", "=", None)),
        ("grey=false", ("grey", "=", False)),
        ("rdm=1/3", ("rdm", "=", "1/3")),
    ],
)
def test_conditions_are_read(text, found):
    condition = parse_condition(text)
    assert (condition.path, condition.sign, condition.value) == found


@pytest.mark.parametrize("text", ["lr", "=3", "", ">=2", "a b=3"])
def test_what_is_no_condition(text):
    with pytest.raises(ConfigError, match=r"^--where needs PATH=VALUE, for example optimiser\.lr=1e-3; found "):
        parse_condition(text)


@pytest.mark.parametrize("text", ["kind>a", "lr<inf", "clip_norm>=null"])
def test_text_has_no_order(text):
    with pytest.raises(ConfigError, match=r": only numbers have an order; use = or != with text\.$"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("v4 correlation > 0.4", ("test", "v4", "", "correlation", ">", 0.4)),
        ("accuracy>=1", ("test", None, "", "accuracy", ">=", 1.0)),
        ("validation: accuracy < .5", ("validation", None, "", "accuracy", "<", 0.5)),
        ("train:v4/s1 loss<=2", ("train", "v4", "s1", "loss", "<=", 2.0)),
        ("v4 gradient_cosine:it > 0", ("test", "v4", "", "gradient_cosine:it", ">", 0.0)),
    ],
)
def test_conditions_on_scores_are_read(text, found):
    read = parse_score(text)
    assert (read.split, read.task, read.session, read.metric, read.sign, read.value) == found


@pytest.mark.parametrize("text", ["", "accuracy", "accuracy > high", "accuracy > nan", "a b c > 1", "accuracy = true"])
def test_what_is_no_condition_on_a_score(text):
    with pytest.raises(ConfigError, match=r"^--score needs .* METRIC > NUMBER, for example 'v4 correlation > 0\.4'"):
        parse_score(text)
