"""Finetuning on RDMs: which teachers there are, where each run starts, and on which images all are read out."""

import re
from typing import ClassVar

from cotrain.chains import needed_runs
from cotrain.evaluations import LinearSvmScoresConfig
from cotrain.models import penultimate_sizes
from cotrain.recipes import rdm_finetuning
from cotrain.recipes.rdm_finetuning import RECORDED, RdmFinetuning, zoo_teachers
from cotrain.training import NetworkRdmConfig, StartFromConfig

OWN = 5  # experiments besides those of teachers: the student, V4 with two losses, two controls


class Zoo(RdmFinetuning):
    """Does it matter which network of the zoo teaches?"""

    teachers: ClassVar = zoo_teachers()


def test_the_zoo_is_that_of_the_published_table():
    names = [name for name, _, _ in zoo_teachers()]
    expected = ["alexnet", "squeezenet1_0", "squeezenet1_1"]
    expected += [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
    expected += [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
    expected += [f"densenet{depth}" for depth in (121, 161, 169, 201)]
    assert sorted(names) == sorted(expected)
    assert set(names) == set(penultimate_sizes())
    assert {(config.weights, size) for _, config, size in zoo_teachers("IMAGENET1K_V1")} == {("IMAGENET1K_V1", 224)}


def test_a_batch_over_the_zoo_is_one_finetuning_a_teacher_and_seed():
    runs = Zoo().expand()
    assert len(runs) == (OWN + 20) * len(Zoo.seeds)
    students = {run.seed: run.key() for run in runs if run.label == "student, objects only"}
    finetuned = [run for run in runs if run.label != "student, objects only"]
    for run in finetuned:
        assert isinstance(run.model, StartFromConfig)
        assert [needed.key for needed in needed_runs(run)] == [students[run.seed]], "of its own seed"
    taught = {run.data.data.network.name: run.label for run in finetuned if isinstance(run.data.data, NetworkRdmConfig)}
    assert taught == {name: name for name in penultimate_sizes()}


def test_the_readout_that_the_docstring_states_is_of_the_student_s_images():
    text = re.search(r"```yaml\n(.*?)```", rdm_finetuning.__doc__, re.DOTALL)[1]
    config = LinearSvmScoresConfig.from_yaml(text)
    assert config.labelled == RECORDED
    assert (config.layers, config.split, config.of_class) == (("layer4",), "test", None)
