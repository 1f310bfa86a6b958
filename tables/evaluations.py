"""Tables of what finished runs are evaluated for, each added without training anything again (docs/evaluations.md)."""

from __future__ import annotations

from typing import Any, ClassVar

from cotrain.config import Config
from cotrain.errors import DatabaseError, did_you_mean
from cotrain.resolve import read_config
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.runs import TrainedModel


@schema
class Evaluation(dj.Manual):
    """Configs of evaluations."""

    definition = """
    # An evaluation with its config
    evaluation_key : varchar(32)        # Config.key()
    ---
    evaluation_kind : varchar(128)      # public dotted name of the function
    evaluation_config : json            # every field, defaults spelt out
    evaluation_ts = CURRENT_TIMESTAMP : datetime
    """

    @classmethod
    def add(cls, config: Config) -> dict[str, str]:
        """Store a config unless it is there; its primary key."""
        key = {"evaluation_key": config.key()}
        if not (cls() & key):
            row = {**key, "evaluation_kind": config.kind, "evaluation_config": config.record()}
            cls.insert1(row, skip_duplicates=True)
        return key

    @classmethod
    def load(cls, key: dict[str, Any]) -> Config:
        """The config of a row, also of one that an older release wrote."""
        return read_config((cls() & key).fetch1("evaluation_config"), stored=True)


def _definition(prefix: str, what: str, counted: str, *columns: str) -> str:
    """Of an evaluation's table. Its own columns are called unlike those of other tables, so that all can be joined."""
    lines = (
        f"# {what}",
        "-> TrainedModel",
        "-> Evaluation",
        "---",
        f"{prefix}_count : int32     # {counted}",
        f"{prefix}_seconds : float64 # (s) wall time",
        f"{prefix}_device : varchar(128) # cpu, or the GPU's name",
        *columns,
    )
    return "\n".join(lines) + "\n"


class _EvaluationTable(dj.Computed):
    """What the tables share: each row of the part is one object of the list that the function returns.

    `kinds` are public names of functions, `rows` is the name of the part, `shown` the columns that people are shown
    the medians of, within each group of the columns `within`. The table's own columns begin with `prefix`.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    prefix: ClassVar[str] = ""
    rows: ClassVar[str] = ""
    within: ClassVar[tuple[str, ...]] = ()
    shown: ClassVar[tuple[str, ...]] = ()

    @property
    def key_source(self) -> Any:
        """Finished runs, each with the configs of these kinds."""
        configs = Evaluation() & [{"evaluation_kind": kind} for kind in self.kinds]
        return TrainedModel().proj() * configs.proj()

    @classmethod
    def part(cls) -> Any:
        """The table of its rows."""
        return getattr(cls, cls.rows)

    @classmethod
    def facts(cls, config: Config) -> dict[str, Any]:  # noqa: ARG003
        """What the table's own columns hold beside count, seconds and device."""
        return {}

    @classmethod
    def steps(cls, config: Config) -> int | None:  # noqa: ARG003
        """How many conditions an evaluation goes through that can be interrupted after each; None: it is all one."""
        return None

    # Three parts: no transaction is open while it computes.
    def make_fetch(self, key: dict[str, Any], *, home: str) -> tuple[dict[str, Any], str, str]:
        """What is to be computed. Called again before the insert: it must then be the same."""
        info = (TrainedModel() & key).fetch1("data_info")
        return Evaluation.load(key).record(), info["fingerprint"], home

    def make_compute(self, key: dict[str, Any], config: dict[str, Any], fingerprint: str, home: str) -> tuple[Any]:
        """Load model and data, and call the function."""
        from cotrain.tables.evaluate import computed

        return (computed(key, read_config(config, stored=True), fingerprint, home),)

    def make_insert(self, key: dict[str, Any], result: dict[str, Any]) -> None:
        """Store what came of it."""
        rows = result.pop("rows")
        self.insert1({**key, **result})
        self.part().insert({**key, **row} for row in rows)


@schema
class NeuronScores(_EvaluationTable):
    """How well each neuron is predicted on the test split."""

    kinds = ("cotrain.evaluations.neuron_scores",)
    prefix = "neuron"
    rows = "Neuron"
    within = ("task", "session")
    shown = ("correlation", "reliability", "explained")
    definition = _definition(
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
class NoiseAccuracy(_EvaluationTable):
    """How classification holds on noisy test images."""

    kinds = ("cotrain.evaluations.noise_accuracy",)
    prefix = "noise"
    rows = "Level"
    within = ("task", "std")
    shown = ("accuracy", "top5")
    definition = _definition(
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
class NoiseMixture(_EvaluationTable):
    """How classification holds on clean images and on a mixture of noise levels."""

    kinds = ("cotrain.evaluations.noise_mixture",)
    prefix = "mixture"
    rows = "Score"
    within = ("task", "split", "shown", "metric")
    shown = ("value",)
    definition = _definition(
        prefix,
        "Scores of a run on clean images and on a mixture of Gaussian noise",
        "of scores, of all classification tasks together",
        "mixture_seed : int32                # of the noise",
    )

    @classmethod
    def facts(cls, config: Any) -> dict[str, Any]:
        """The seed of the noise, which is not the run's."""
        return {"mixture_seed": config.seed}

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
class Robustness(_EvaluationTable):
    """How all tasks hold when images are corrupted, on the fly or in published files."""

    FILES = "cotrain.evaluations.corrupted_folders"
    kinds = ("cotrain.evaluations.corruptions", FILES)
    prefix = "robustness"
    rows = "Score"
    definition = _definition(
        prefix,
        "Scores of a run under corruptions of images, and on clean ones",
        "of scores, of all tasks, conditions and metrics",
        "robustness_preset : varchar(32)     # table of severities; files: pictures that somebody published",
        "robustness_seed = null : int32      # of the corruptions; null: files",
        "corruptions_version = null : int32  # of the code that corrupts; null: files",
    )

    @classmethod
    def facts(cls, config: Any) -> dict[str, Any]:
        """What the images were corrupted by."""
        if config.kind == cls.FILES:
            return {"robustness_preset": "files", "robustness_seed": None, "corruptions_version": None}
        return {
            "robustness_preset": config.preset,
            "robustness_seed": config.seed,
            "corruptions_version": config.version,
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


TABLES: dict[str, type[_EvaluationTable]] = {
    kind: table for table in (NeuronScores, NoiseAccuracy, NoiseMixture, Robustness) for kind in table.kinds
}


def table_of(kind: str) -> type[_EvaluationTable]:
    """The table that holds what an evaluation of this kind computes.

    Raises:
        DatabaseError: There is none.
    """
    if kind not in TABLES:
        raise DatabaseError(f"No table holds evaluations of kind {kind!r}.{did_you_mean(kind, list(TABLES))}")
    return TABLES[kind]
