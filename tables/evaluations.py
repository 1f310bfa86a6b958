"""Tables of what finished runs are evaluated for, each added without training anything again (docs/evaluations.md)."""

from __future__ import annotations

from typing import Any

from cotrain.errors import DatabaseError, did_you_mean
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.evaluation import Evaluation, EvaluationTable, table_definition
from cotrain.tables.layer_evaluations import LinearSvmScores, Rsa, SitScores
from cotrain.tables.manifold_evaluation import Manifolds, SmoothManifolds
from cotrain.tables.neural_regression import NeuralRegression
from cotrain.tables.runs import TrainedModel

__all__ = [
    "TABLES",
    "Evaluation",
    "LinearSvmScores",
    "Manifolds",
    "NeuralRegression",
    "NeuronScores",
    "NoiseAccuracy",
    "NoiseMixture",
    "Robustness",
    "Rsa",
    "SitScores",
    "SmoothManifolds",
    "TrainedModel",
    "table_of",
]


@schema
class NeuronScores(EvaluationTable):
    """How well each neuron is predicted on the test split."""

    kinds = ("cotrain.evaluations.neuron_scores",)
    prefix = "neuron"
    rows = "Neuron"
    within = ("task", "session")
    shown = ("correlation", "reliability", "explained")
    definition = table_definition(
        prefix, "Scores of single neurons of a run, on the test split", "of all neural tasks and sessions"
    )

    class Neuron(dj.Part):
        """One neuron."""

        definition = """
        # Scores of one neuron; null: undefined
        -> master
        task : varchar(32)
        session : varchar(32)
        neuron : int32                  # place in the session, counted from 0
        ---
        correlation = null : float64    # Pearson r over stimuli with the mean over repeats, -1 to 1
        reliability = null : float64    # of the mean over repeats (split halves, Spearman-Brown), at most 1
        explainable = null : float64    # share of the variance of single responses that stimuli explain
        explained = null : float64      # share of `explainable` that the prediction explains, at most 1
        mean_response = null : float64  # in the units of the session's targets
        """


@schema
class NoiseAccuracy(EvaluationTable):
    """How classification holds on noisy test images."""

    kinds = ("cotrain.evaluations.noise_accuracy",)
    prefix = "noise"
    rows = "Level"
    within = ("task", "std")
    shown = ("accuracy", "top5")
    definition = table_definition(
        prefix,
        "Accuracy of a run on test images with Gaussian noise",
        "of levels, of all classification tasks together",
    )

    class Level(dj.Part):
        """One level of noise."""

        definition = """
        # Accuracy at one level of noise
        -> master
        task : varchar(32)
        level : int32                   # place in the config, counted from 0
        ---
        std : float64                   # standard deviation of the noise, of the range 0..1 of pixels
        accuracy : float64              # share of images, 0 to 1
        top5 = null : float64           # share whose label is among the 5 highest scores; null: 5 classes or fewer
        """


@schema
class NoiseMixture(EvaluationTable):
    """How classification holds on clean images and on a mixture of noise levels."""

    kinds = ("cotrain.evaluations.noise_mixture",)
    prefix = "mixture"
    rows = "Score"
    within = ("task", "split", "shown", "metric")
    shown = ("value",)
    kept = ("seed",)
    definition = table_definition(
        prefix,
        "Scores of a run on clean images and on a mixture of Gaussian noise",
        "of scores, of all classification tasks together",
        "mixture_seed : int32                # of the noise",
    )

    class Score(dj.Part):
        """One score."""

        definition = """
        # One score; null: undefined
        -> master
        task : varchar(32)
        split : varchar(12)             # validation or test
        shown : varchar(12)             # clean or mixture
        metric : varchar(32)            # accuracy, top5 or loss
        ---
        value = null : float64
        """


@schema
class Robustness(EvaluationTable):
    """How all tasks hold when images are corrupted, on the fly or in published files."""

    FILES = "cotrain.evaluations.corrupted_folders"
    kinds = ("cotrain.evaluations.corruptions", FILES)
    prefix = "robustness"
    rows = "Score"
    definition = table_definition(
        prefix,
        "Scores of a run under corruptions of images, and on clean ones",
        "of scores, of all tasks, conditions and metrics",
        "robustness_preset : varchar(32)     # table of severities; files: pictures that somebody published",
        "robustness_seed = null : int32      # of the corruptions; null: files",
        "corruptions_version = null : int32  # of the code that corrupts; null: files",
        "robustness_frost = '' : varchar(32) # frost_identity of original pictures of frost; empty: cotrain's own",
    )

    @classmethod
    def facts(cls, config: Any) -> dict[str, Any]:
        """What the images were corrupted by."""
        if config.kind == cls.FILES:
            return {
                "robustness_preset": "files",
                "robustness_seed": None,
                "corruptions_version": None,
                "robustness_frost": "",
            }
        return {
            "robustness_preset": config.preset,
            "robustness_seed": config.seed,
            "corruptions_version": config.version,
            "robustness_frost": config.frost,
        }

    @classmethod
    def steps(cls, config: Any) -> int | None:
        """Conditions."""
        from cotrain.evaluations import conditions_of

        return len(conditions_of(config.corruptions, config.severities))

    class Score(dj.Part):
        """One score under one condition."""

        definition = """
        # One score under one condition; null: undefined
        -> master
        task : varchar(32)
        session : varchar(32)           # empty: no sessions, or all of them together
        corruption : varchar(32)        # clean: images as they are
        severity : int32                # 1 to 5; 0: clean
        metric : varchar(32)            # as in training: accuracy, top5, correlation, spearman, loss, ...
        ---
        value = null : float64
        images : int32                  # how many were shown
        """


TABLES: dict[str, type[EvaluationTable]] = {
    kind: table
    for table in (
        NeuronScores,
        NeuralRegression,
        NoiseAccuracy,
        NoiseMixture,
        Robustness,
        Rsa,
        SitScores,
        LinearSvmScores,
        Manifolds,
        SmoothManifolds,
    )
    for kind in table.kinds
}


def table_of(kind: str) -> type[EvaluationTable]:
    """The table that holds what an evaluation of this kind computes.

    Raises:
        DatabaseError: There is none.
    """
    if kind not in TABLES:
        raise DatabaseError(f"No table holds evaluations of kind {kind!r}.{did_you_mean(kind, list(TABLES))}")
    return TABLES[kind]
