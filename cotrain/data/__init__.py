"""Data sets, their splits and controls, and the loader that mixes tasks."""

from cotrain.data._arrays import (
    ArraysConfig,
    LabelArrayConfig,
    RdmArrayConfig,
    ResponseArrayConfig,
    ResponseRdmConfig,
    arrays,
)
from cotrain.data._controls import SelectTasksConfig, ShuffledConfig, select_tasks, shuffled
from cotrain.data._digits import DigitsConfig, digits
from cotrain.data._jitter import Augmentation, JitterConfig, jitter
from cotrain.data._mixing import Batch, MicroStep, MixingConfig, MixingLoader, Schedule
from cotrain.data._multi_task import MultiTaskConfig, multi_task
from cotrain.data._recorded import RecordedConfig, recorded
from cotrain.data._simulated_v1 import SimulatedV1Config, simulated_v1
from cotrain.data._source import Data, Source, assemble, join
from cotrain.data._splits import SplitConfig, split_groups

__all__ = [
    "ArraysConfig",
    "Augmentation",
    "Batch",
    "Data",
    "DigitsConfig",
    "JitterConfig",
    "LabelArrayConfig",
    "MicroStep",
    "MixingConfig",
    "MixingLoader",
    "MultiTaskConfig",
    "RdmArrayConfig",
    "RecordedConfig",
    "ResponseArrayConfig",
    "ResponseRdmConfig",
    "Schedule",
    "SelectTasksConfig",
    "ShuffledConfig",
    "SimulatedV1Config",
    "Source",
    "SplitConfig",
    "arrays",
    "assemble",
    "digits",
    "jitter",
    "join",
    "multi_task",
    "recorded",
    "select_tasks",
    "shuffled",
    "simulated_v1",
    "split_groups",
]
