"""Scores under corruptions: by hand from corrupted images, the same for all batch sizes, on from where it stopped."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from cotrain.data.corruptions import CORRUPTIONS_VERSION, corrupt_batch, corruption_names
from cotrain.errors import ConfigError, DataError
from cotrain.evaluations import CorruptionsConfig, conditions_of, corruptions
from cotrain.training import evaluate

CPU = torch.device("cpu")
NOISE = CorruptionsConfig(corruptions=("gaussian_noise",), severities=(1, 3, 5), seed=7)
HERE = Path(__file__).parent


def evaluated(model, data, config=NOISE, **options):
    return corruptions(model, data, config, device=CPU, **options)


def values(rows):
    """{(task, session, corruption, severity, metric): value}."""
    found = {(row.task, row.session, row.corruption, row.severity, row.metric): row.value for row in rows}
    assert len(found) == len(rows), "the first five are the primary key of a table"
    return found


def test_scores_are_those_of_the_model_on_corrupted_images(model, data):
    found = values(evaluated(model, data))
    test = data.splits["test"]
    for severity in NOISE.severities:
        shown = {
            (task, session): corrupt_batch(
                source.images, "gaussian_noise", severity, seed=7, indices=torch.arange(len(source))
            )
            for task, sessions in test.items()
            for session, source in sessions.items()
        }
        with torch.no_grad():
            outputs = {key: model.eval()(images, *key).double().numpy() for key, images in shown.items()}
        scores, labels = outputs["animals", ""], test["animals"][""].targets.numpy()
        at = ("animals", "", "gaussian_noise", severity)
        assert found[(*at, "accuracy")] == (scores.argmax(1) == labels).mean()
        assert found[(*at, "top5")] == (np.argsort(-scores)[:, :5] == labels[:, None]).any(1).mean()
        loss = torch.nn.functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(labels))
        assert found[(*at, "loss")] == pytest.approx(float(loss), rel=1e-5)
        every = []
        for session in ("first", "second"):
            responses = test["cells"][session].targets.double().numpy()
            own = [pearsonr(*pair).statistic for pair in zip(outputs["cells", session].T, responses.T, strict=True)]
            assert found["cells", session, "gaussian_noise", severity, "correlation"] == pytest.approx(np.median(own))
            every += own
        assert found["cells", "", "gaussian_noise", severity, "correlation"] == pytest.approx(np.median(every))
        upper = np.triu_indices(30, k=1)
        ours = 1 - np.corrcoef(outputs["geometry", ""])[upper]
        wanted = spearmanr(ours, test["geometry"][""].targets.numpy()[upper]).statistic
        assert found["geometry", "", "gaussian_noise", severity, "spearman"] == pytest.approx(wanted, abs=1e-4)


def test_clean_scores_are_those_of_training(model, data):
    for split in ("test", "validation"):
        rows = evaluated(model, data, NOISE.replace(split=split))
        clean = {(row.task, row.session, row.metric): row.value for row in rows if row.corruption == "clean"}
        scores = evaluate(model, split, data.splits[split], epoch=0, device=CPU)
        assert clean == {(score.task, score.session, score.metric): score.value for score in scores}
        assert {row.severity for row in rows if row.corruption == "clean"} == {0}


def test_conditions_and_counts(model, data):
    rows = evaluated(model, data)
    assert list(dict.fromkeys((row.corruption, row.severity) for row in rows)) == [
        ("clean", 0),
        *(("gaussian_noise", severity) for severity in (1, 3, 5)),
    ]
    assert {(row.task, row.session): row.images for row in rows} == {
        ("animals", ""): 30,
        ("cells", "first"): 30,
        ("cells", "second"): 30,
        ("cells", ""): 60,
        ("geometry", ""): 30,
    }
    common, extra = corruption_names(), corruption_names(extra=True)[len(corruption_names()) :]
    assert conditions_of(("common",), (2,)) == (("clean", 0), *((name, 2) for name in common))
    assert conditions_of(("extra", "common"), (2,))[1:] == tuple((name, 2) for name in (*extra, *common))
    assert len(conditions_of(("common", "gaussian_noise"), (1, 2))) == 1 + 2 * len(common)


@pytest.mark.parametrize("size", [1, 7, 128])
def test_batches_of_any_size_give_the_same(model, data, size):
    # the corrupted images are equal bit by bit; a network's sums may be rounded otherwise in another batch
    config = NOISE.replace(severities=(5,))
    found, wanted = (
        values(evaluated(model, data, config.replace(batch_size=size))),
        values(evaluated(model, data, config)),
    )
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        exact = key[-1] in ("accuracy", "top5")
        assert found[key] == (value if exact else pytest.approx(value, rel=1e-5, abs=1e-6)), key
    assert config.replace(batch_size=size).key() == config.key()


def test_the_seed_of_the_run_plays_no_part_and_that_of_the_config_does(model, data):
    assert values(evaluated(model, data, seed=1)) == values(evaluated(model, data, seed=2))
    assert values(evaluated(model, data)) != values(evaluated(model, data, NOISE.replace(seed=8)))


def test_only_the_first_images(model, data):
    rows = evaluated(model, data, NOISE.replace(images=12))
    assert {row.images for row in rows if row.task != "cells"} == {12}
    test = {
        task: {name: source.subset(torch.arange(12)) for name, source in sessions.items()}
        for task, sessions in data.splits["test"].items()
    }
    less = dataclasses.replace(data, splits={**data.splits, "test": test})
    assert values(rows) == values(evaluated(model, less))
    assert values(evaluated(model, data, NOISE.replace(images=1000))) == values(evaluated(model, data))


def test_an_rdm_among_groups_stays_whole(model, data):
    held = data.splits["test"]["geometry"][""]
    grouped = dataclasses.replace(held, groups=torch.arange(30) // 3, targets=held.targets[:10, :10])
    test = {**data.splits["test"], "geometry": {"": grouped}}
    changed = dataclasses.replace(data, splits={**data.splits, "test": test})
    rows = evaluated(model, changed, NOISE.replace(images=5, tasks=("geometry",)))
    assert {row.images for row in rows} == {30}
    assert all(math.isfinite(row.value) for row in rows if row.metric == "spearman")


def test_tasks_that_are_wanted_or_not_there(data, model, model_of):
    neural = model_of("cells")
    assert {row.task for row in evaluated(neural, data)} == {"cells"}, "a run without classification"
    assert evaluated(neural, data, NOISE.replace(tasks=("animals",))) == []
    assert {row.task for row in evaluated(model, data, NOISE.replace(tasks=("geometry", "v4")))} == {"geometry"}


def test_wrong_configs_are_refused_at_once():
    with pytest.raises(ConfigError, match=r"there is no corruption 'gausian_noise'\. Did you mean 'gaussian_noise'\?"):
        CorruptionsConfig(corruptions=("gausian_noise",))
    with pytest.raises(ConfigError, match="severities: each is named once"):
        CorruptionsConfig(severities=(1, 1))
    with pytest.raises(ConfigError, match=r"severities\.0: input should be 1, 2, 3, 4 or 5, found 6"):
        CorruptionsConfig(severities=(6,))
    with pytest.raises(ConfigError, match="preset: input should be 'imagenet_c'"):
        CorruptionsConfig(preset="imagenet")
    for changes in ({"corruptions": ()}, {"severities": ()}, {"images": 2}, {"seed": -1}, {"split": "train"}):
        with pytest.raises(ConfigError, match=next(iter(changes))):
            CorruptionsConfig(**changes)


def test_another_version_is_another_evaluation_and_is_not_computed(model, data):
    older = NOISE.replace(version=CORRUPTIONS_VERSION + 1)
    assert older.key() != NOISE.key()
    assert CorruptionsConfig().version == CORRUPTIONS_VERSION
    told = f"version {CORRUPTIONS_VERSION + 1} of the corruptions gave other pixels than version {CORRUPTIONS_VERSION},"
    with pytest.raises(ConfigError, match=told):
        evaluated(model, data, older)


def test_images_that_are_too_small_are_told_before_anything_is_computed(model, data):
    held = data.splits["test"]["cells"]["first"]
    small = dataclasses.replace(held, images=held.images[:, :, :20, :20])
    test = {**data.splits["test"], "cells": {"first": small}}
    changed = dataclasses.replace(data, splits={**data.splits, "test": test})
    done = []
    with pytest.raises(DataError, match=r"^Task 'cells': Corruptions are defined from 32 .* Leave the task out: tasks"):
        evaluated(model, changed, on_condition=lambda: done.append(1))
    assert done == []


# --- the journal ---


def test_what_a_journal_has_is_not_computed_again(model, data, tmp_path):
    journal, wanted = tmp_path / "deep" / "a.jsonl", evaluated(model, data)
    assert evaluated(model, data, journal=journal) == wanted
    lines = journal.read_text().splitlines(keepends=True)
    assert [json.loads(line).get("severity") for line in lines] == [None, 0, 1, 3, 5]
    changed = json.loads(lines[2])
    changed["scores"][0][3] = 123.0
    journal.write_text(lines[0] + lines[1] + json.dumps(changed) + "\n" + lines[3][:-20])  # the last line is torn
    told = []
    found = evaluated(model, data, journal=journal, on_condition=lambda: told.append(len(told)))
    assert next(row.value for row in found if row.severity == 1) == 123.0
    assert [row for row in found if row.severity != 1] == [row for row in wanted if row.severity != 1]
    assert told == [0, 1, 2, 3]
    assert journal.read_text().splitlines(keepends=True)[3:] == lines[3:]


def test_values_that_are_no_numbers_are_kept(model, data, tmp_path):
    held = data.splits["test"]["cells"]["first"]
    still = dataclasses.replace(held, targets=torch.ones_like(held.targets))
    endless = dataclasses.replace(held, targets=torch.full_like(held.targets, 1e30))
    test = {"cells": {"first": still, "second": endless}}
    changed = dataclasses.replace(data, splits={**data.splits, "test": test})
    first = evaluated(model, changed, journal=tmp_path / "a.jsonl")
    again = evaluated(model, changed, journal=tmp_path / "a.jsonl")
    assert list(map(repr, first)) == list(map(repr, again))
    assert {True, False} <= {math.isnan(row.value) for row in first}
    assert math.inf in {row.value for row in first}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"evaluation": "another"}\n', "is of another evaluation, model or data set"),
        ("what is this\n", "is damaged, or no journal of an evaluation"),
        ("[1, 2]\n3\n", "is damaged, or no journal of an evaluation"),
    ],
)
def test_another_file_is_no_journal(model, data, tmp_path, content, text):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=text):
        evaluated(model, data, journal=path)
    assert path.read_text() == content


def test_a_journal_is_of_one_model_config_and_data_set(model, model_of, data, tmp_path):
    path = tmp_path / "a.jsonl"
    evaluated(model, data, journal=path)
    with pytest.raises(DataError, match="is of another evaluation, model or data set"):
        evaluated(model, data, NOISE.replace(seed=8), journal=path)
    with pytest.raises(DataError, match="is of another evaluation, model or data set"):
        evaluated(model_of("animals"), data, journal=path)
    other = dataclasses.replace(data, info=dataclasses.replace(data.info, fingerprint="0" * 32))
    with pytest.raises(DataError, match="is of another evaluation, model or data set"):
        evaluated(model, other, journal=path)


def test_one_process_writes_a_journal_at_a_time(model, data, tmp_path):
    path = tmp_path / "a.jsonl"

    def second():
        with pytest.raises(DataError, match="Another process writes the journal"):
            evaluated(model, data, journal=path)

    evaluated(model, data, journal=path, on_condition=second)


def test_a_folder_that_cannot_be_written(model, data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"^The journal .* cannot be written: "):
        evaluated(model, data, journal=tmp_path / "file" / "a.jsonl")


def test_a_killed_process_is_gone_on_from(model, data, tmp_path):
    """The second process, this one, computes what is left, and gets what an uninterrupted one does."""
    journal = tmp_path / "a.jsonl"
    torch.save((model, data), tmp_path / "both.pt")
    code = f"""
        import os, signal, sys, torch
        from cotrain.evaluations import CorruptionsConfig, corruptions

        model, data = torch.load({str(tmp_path / "both.pt")!r}, weights_only=False)
        config, told = CorruptionsConfig.from_yaml(sys.argv[1]), []

        def kill_at_the_third():
            told.append(1)
            if len(told) == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        corruptions(
            model, data, config, device=torch.device("cpu"), journal={type(journal).__name__}({str(journal)!r}),
            on_condition=kill_at_the_third,
        )
    """
    code = f"from pathlib import {type(journal).__name__}\n" + textwrap.dedent(code)
    killed = subprocess.run([sys.executable, "-c", code, NOISE.to_yaml()], env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    before = journal.read_bytes()
    assert before.count(b"\n") == 1 + 3
    with journal.open("ab") as file:
        file.write(b'{"corruption": "gaussian_noise", "sever')  # as if it was killed while it wrote
    assert values(evaluated(model, data, journal=journal)) == values(evaluated(model, data))
    assert journal.read_bytes().startswith(before), "nothing of it was written again"
    assert journal.read_bytes().count(b"\n") == 1 + 4
