"""The trainer, its optimisers and schedules, score sinks, and running an experiment in a folder."""

from cotrain.training._check import check
from cotrain.training._checkpoint import RunFolder, load_state
from cotrain.training._evaluation import evaluate, predict
from cotrain.training._model_responses import (
    PredictedResponsesConfig,
    TeacherResponsesConfig,
    predicted_responses,
    teacher_responses,
)
from cotrain.training._monitor import Monitor, MonitorConfig
from cotrain.training._optimisers import (
    AdamWConfig,
    ConstantConfig,
    CosineConfig,
    SgdConfig,
    adamw,
    constant,
    cosine,
    parameter_groups,
    sgd,
)
from cotrain.training._run import RunResult, load, load_model, run, without_weights
from cotrain.training._sinks import JournalSink, Score, ScoreSink, TensorBoardSink
from cotrain.training._trainer import Fit, Trainer, TrainerConfig, trainer

__all__ = [
    "AdamWConfig",
    "ConstantConfig",
    "CosineConfig",
    "Fit",
    "JournalSink",
    "Monitor",
    "MonitorConfig",
    "PredictedResponsesConfig",
    "RunFolder",
    "RunResult",
    "Score",
    "ScoreSink",
    "SgdConfig",
    "TeacherResponsesConfig",
    "TensorBoardSink",
    "Trainer",
    "TrainerConfig",
    "adamw",
    "check",
    "constant",
    "cosine",
    "evaluate",
    "load",
    "load_model",
    "load_state",
    "parameter_groups",
    "predict",
    "predicted_responses",
    "run",
    "sgd",
    "teacher_responses",
    "trainer",
    "without_weights",
]
