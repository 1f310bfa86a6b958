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


class _EvaluationTable(dj.Computed):
    """What the tables share: each row of the part is one object of the list that the function returns.

    `kind` is the function's public name, `rows` the name of the part, `shown` the columns that people are shown the
    medians of, within each group of the columns `within`.
    """

    kind: ClassVar[str] = ""
    rows: ClassVar[str] = ""
    count: ClassVar[str] = ""  # names of the columns that hold the number of rows, seconds, and the device
    seconds: ClassVar[str] = ""
    device: ClassVar[str] = ""
    within: ClassVar[tuple[str, ...]] = ()
    shown: ClassVar[tuple[str, ...]] = ()

    @property
    def key_source(self) -> Any:
        """Finished runs, each with the configs of this kind."""
        return TrainedModel().proj() * (Evaluation() & {"evaluation_kind": self.kind}).proj()

    @classmethod
    def part(cls) -> Any:
        """The table of its rows."""
        return getattr(cls, cls.rows)

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

    kind = "cotrain.evaluations.neuron_scores"
    rows = "Neuron"
    within = ("task", "session")
    shown = ("correlation", "reliability", "explained")
    definition = """
    # Scores of single neurons of a run, on the test split
    -> TrainedModel
    -> Evaluation
    ---
    neuron_count : int32                # of all neural tasks and sessions
    neuron_seconds : float64            # (s) wall time
    neuron_device : varchar(128)        # cpu, or the GPU's name
    """
    count, seconds, device = "neuron_count", "neuron_seconds", "neuron_device"

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

    kind = "cotrain.evaluations.noise_accuracy"
    rows = "Level"
    within = ("task", "std")
    shown = ("accuracy",)
    definition = """
    # Accuracy of a run on test images with Gaussian noise
    -> TrainedModel
    -> Evaluation
    ---
    noise_count : int32                 # of levels, of all classification tasks together
    noise_seconds : float64             # (s) wall time
    noise_device : varchar(128)         # cpu, or the GPU's name
    """
    count, seconds, device = "noise_count", "noise_seconds", "noise_device"

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
        """


TABLES: dict[str, type[_EvaluationTable]] = {table.kind: table for table in (NeuronScores, NoiseAccuracy)}


def table_of(kind: str) -> type[_EvaluationTable]:
    """The table that holds what an evaluation of this kind computes.

    Raises:
        DatabaseError: There is none.
    """
    if kind not in TABLES:
        raise DatabaseError(f"No table holds evaluations of kind {kind!r}.{did_you_mean(kind, list(TABLES))}")
    return TABLES[kind]
