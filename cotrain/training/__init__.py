"""The trainer, its optimisers and schedules, score sinks, and running an experiment in a folder."""

from cotrain.training._bench import Bench, bench
from cotrain.training._check import check
from cotrain.training._checkpoint import RunFolder, load_state
from cotrain.training._device import pick_device
from cotrain.training._durations import Duration, Interval, Timeline
from cotrain.training._evaluation import Seen, as_they_are, evaluate, predict
from cotrain.training._find_learning_rate import LearningRates, find_learning_rate
from cotrain.training._hooks import Hook, Training
from cotrain.training._model_responses import (
    PredictedResponsesConfig,
    TeacherResponsesConfig,
    predicted_responses,
    teacher_responses,
)
from cotrain.training._monitor import Monitor, MonitorConfig
from cotrain.training._needed import RunOfConfig, find_run, looking_beside, run_of, write_finished
from cotrain.training._network_rdm import NetworkRdmConfig, network_rdm
from cotrain.training._optimisers import (
    AdamConfig,
    AdamWConfig,
    ParameterGroupConfig,
    SgdConfig,
    adam,
    adamw,
    parameter_groups,
    sgd,
)
from cotrain.training._ranks import Ranks, ranks_here
from cotrain.training._run import RunResult, initial_model, load, load_model, run, without_weights
from cotrain.training._schedules import (
    ConstantConfig,
    CosineConfig,
    MilestonesConfig,
    OneCycleConfig,
    PlateauConfig,
    RateSchedule,
    StepConfig,
    Verdict,
    WarmUpConfig,
    constant,
    cosine,
    milestones,
    one_cycle,
    plateau,
    step,
    warm_up,
)
from cotrain.training._sinks import JournalSink, Score, ScoreSink, TensorBoardSink
from cotrain.training._start_from import StartFromConfig, start_from
from cotrain.training._trainer import Fit, Trainer, TrainerConfig, trainer

__all__ = [
    "AdamConfig",
    "AdamWConfig",
    "Bench",
    "ConstantConfig",
    "CosineConfig",
    "Duration",
    "Fit",
    "Hook",
    "Interval",
    "JournalSink",
    "LearningRates",
    "MilestonesConfig",
    "Monitor",
    "MonitorConfig",
    "NetworkRdmConfig",
    "OneCycleConfig",
    "ParameterGroupConfig",
    "PlateauConfig",
    "PredictedResponsesConfig",
    "Ranks",
    "RateSchedule",
    "RunFolder",
    "RunOfConfig",
    "RunResult",
    "Score",
    "ScoreSink",
    "Seen",
    "SgdConfig",
    "StartFromConfig",
    "StepConfig",
    "TeacherResponsesConfig",
    "TensorBoardSink",
    "Timeline",
    "Trainer",
    "TrainerConfig",
    "Training",
    "Verdict",
    "WarmUpConfig",
    "adam",
    "adamw",
    "as_they_are",
    "bench",
    "check",
    "constant",
    "cosine",
    "evaluate",
    "find_learning_rate",
    "find_run",
    "initial_model",
    "load",
    "load_model",
    "load_state",
    "looking_beside",
    "milestones",
    "network_rdm",
    "one_cycle",
    "parameter_groups",
    "pick_device",
    "plateau",
    "predict",
    "predicted_responses",
    "ranks_here",
    "run",
    "run_of",
    "sgd",
    "start_from",
    "step",
    "teacher_responses",
    "trainer",
    "warm_up",
    "without_weights",
    "write_finished",
]
