"""Tables of runs: what was asked for, every attempt at it with its live scores, and what came of it."""

from __future__ import annotations

from typing import Any

from cotrain.chains import needed_runs
from cotrain.errors import DatabaseError
from cotrain.recipe import Experiment
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import Dataset, Model, Trainer, schema
from cotrain.tables.weights import WeightsCodec  # noqa: F401 DataJoint finds `<weights@...>` once it is defined

PARTS = {"data": Dataset, "model": Model, "trainer": Trainer}


@schema
class Seed(dj.Manual):
    """Seeds that runs have used."""

    definition = """
    # Root of a run's seed tree
    seed : int32
    """


@schema
class Run(dj.Manual):
    """One experiment: exactly the combinations that recipes asked for, not the full product."""

    definition = """
    # An experiment that is, or is to be, run
    run_key : varchar(32)               # Experiment.key()
    ---
    -> Dataset
    -> Model
    -> Trainer
    -> Seed
    run_ts = CURRENT_TIMESTAMP : datetime
    """

    @classmethod
    def add(cls, experiment: Experiment) -> dict[str, str]:
        """Store an experiment with its configs unless it is there; its primary key."""
        parts = {part: table.add(getattr(experiment, part)) for part, table in PARTS.items()}
        Seed.insert1({"seed": experiment.seed}, skip_duplicates=True)
        key = {"run_key": experiment.key()}
        row = {**key, **parts["data"], **parts["model"], **parts["trainer"], "seed": experiment.seed}
        cls.insert1(row, skip_duplicates=True)
        return key

    @classmethod
    def load(cls, key: dict[str, Any]) -> Experiment:
        """The experiment of a run, as stored."""
        row = (cls() & key).fetch1()
        parts = {part: table.load({f"{table.part}_key": row[f"{table.part}_key"]}) for part, table in PARTS.items()}
        experiment = Experiment(label=row["run_key"], seed=row["seed"], **parts)
        if experiment.key() != row["run_key"]:
            raise DatabaseError(
                f"Run {row['run_key']} reads back as {experiment.key()}: its rows were changed by hand."
            )
        return experiment

    @classmethod
    def where(cls, **values: Any) -> Any:
        """The runs with these config values, as a DataJoint query: `Run.where(lr=1e-3, **{"mixing.ratios@1.v4": 2})`.

        `cotrain.tables.queries.runs` says what a path is, and knows more conditions.
        """
        from cotrain.tables.selection import runs

        return runs(where=values)


@schema
class ParentRun(dj.Manual):
    """Runs whose results other runs need. A run is handed out when all its parents are in `TrainedModel`.

    No foreign key to the parent: deleting it would delete what was learnt from it, and a run that is named by its key
    may never have been in this database.
    """

    definition = """
    # A run whose result another one starts from, or learns from
    -> Run
    parent_key : varchar(32)            # run_key of the run that is needed
    """

    @classmethod
    def add(cls, experiment: Experiment) -> None:
        """Store the parents of an experiment whose run is stored."""
        key = {"run_key": experiment.key()}
        cls.insert(
            ({**key, "parent_key": needed.key} for needed in needed_runs(experiment)),
            skip_duplicates=True,
        )

    @classmethod
    def unfinished(cls) -> Any:
        """Pairs of a run and a parent of it that is in the database and not finished, as a DataJoint query."""
        parents = Run().proj(parent_key="run_key") - TrainedModel().proj(parent_key="run_key")
        return cls().restrict(parents, semantic_check=False)  # without a foreign key the names alone agree


@schema
class Provenance(dj.Manual):
    """Code and environment that recipes were enqueued from and that workers ran with; each once."""

    definition = """
    # Code and environment of a process
    provenance_key : varchar(32)
    ---
    cotrain_version : varchar(32)
    python_version : varchar(32)
    platform : varchar(128)
    image = '' : varchar(255)           # container image, from COTRAIN_IMAGE
    packages : json                     # {distribution: version}
    environment = null : json           # hardware, drivers, flags of torch and variables that change numbers
    repositories : json                 # {folder: commit, dirty, of ...}: of cotrain, the recipe, builders
    changes = null : <blob>             # {folder: its uncommitted changes as a patch}, secrets masked
    """


@schema
class Recipe(dj.Manual):
    """Recipes whose experiments were put into the database."""

    definition = """
    # A named set of runs and the question behind it
    recipe : varchar(128)               # module:Class
    ---
    question : varchar(1024)            # first line of the recipe's docstring
    recipe_ts = CURRENT_TIMESTAMP : datetime
    """


@schema
class RecipeRun(dj.Manual):
    """Which runs a recipe asked for. Manual, since a part with a foreign key to Run would block deleting runs."""

    definition = """
    # Membership of a run in a recipe
    -> Recipe
    -> Run
    ---
    label : varchar(128)                # what the recipe calls it, the same for all seeds
    place : int32                       # where the recipe has it, counted from 0
    -> [nullable] Provenance            # code that it was enqueued from last
    enqueued_by = '' : varchar(64)      # user of the operating system who did
    """


@schema
class Attempt(dj.Manual):
    """One try at a run by one worker. It outlives failure, and holds the live curve."""

    definition = """
    # One execution of a run
    -> Run
    attempt : int32                     # counted from 1
    ---
    -> Provenance
    status : varchar(12)                # running, done, failed, interrupted, or lost (its worker fell silent)
    worker = '' : varchar(32)           # name of the worker, drawn at random when it started
    host : varchar(64)
    pid : int32
    device : varchar(128)               # cpu, or the GPU's name
    command : varchar(1024)             # the worker's command line
    started = CURRENT_TIMESTAMP : datetime
    heartbeat = CURRENT_TIMESTAMP(3) : datetime(3)  # last sign of life while running
    finished = null : datetime
    epoch = -1 : int32                  # last epoch that was scored; 0 before training, -1 before that
    error = '' : varchar(2047)
    stack = null : <blob>               # traceback of a failure
    INDEX (status)
    """


@schema
class EpochScore(dj.Manual):
    """Scores, written while the run goes. Together the attempts of a run hold each of its epochs once."""

    definition = """
    # One score of one epoch
    -> Attempt
    epoch_number : int32                # counted from 1; 0 is before training
    task : varchar(32)                  # empty: all tasks together
    session : varchar(32)               # empty: no sessions, or all of them together
    split : varchar(12)                 # train or validation
    metric : varchar(32)
    ---
    value = null : float64              # null: undefined (NaN)
    """


@schema
class TrainedModel(dj.Computed):
    """A finished run: weights of its best epoch and their test scores."""

    definition = """
    # What a run came to
    -> Run
    ---
    -> Attempt                          # the attempt that finished it
    best_epoch : int32                  # the epoch that validation chose; counted from 1
    monitored = null : float64          # validation score that chose it: weighted mean of the tasks' primary scores
    seconds : float64                   # (s) wall time of the finishing attempt
    data_info : json                    # what the model builder was told of the data
    state : <weights@checkpoints>       # file of torch with the weights of the best epoch: path, size (bytes), SHA-256
    """

    class Score(dj.Part):
        """Scores of the best epoch, on every split."""

        definition = """
        # One score of the best epoch
        -> master
        task : varchar(32)
        session : varchar(32)
        split : varchar(12)             # train, validation or test
        metric : varchar(32)
        ---
        value = null : float64          # null: undefined (NaN)
        """

    def make(self, key: dict[str, Any]) -> None:
        """Refuse: workers claim runs themselves, so that a killed one's run goes on (docs/decisions/0013)."""
        raise DatabaseError(
            f"populate() does not train run {key['run_key']}. `cotrain work` trains what is in the queue."
        )
