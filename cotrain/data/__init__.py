"""Data sets, their splits and controls, and the loader that mixes tasks."""

from cotrain.data._added_task import shown_sources, with_task
from cotrain.data._arrays import (
    ArraysConfig,
    LabelArrayConfig,
    ResponseArrayConfig,
    ResponseRdmConfig,
    arrays,
    read_arrays,
)
from cotrain.data._augment import AugmentConfig, augment
from cotrain.data._class_manifolds import ClassManifoldsConfig, class_manifolds
from cotrain.data._condition_labels import ConditionLabelsConfig
from cotrain.data._controls import (
    GaussianSurrogateConfig,
    SelectClassesConfig,
    SelectTasksConfig,
    ShuffledConfig,
    gaussian_surrogate,
    select_classes,
    select_tasks,
    shuffled,
)
from cotrain.data._digits import DigitsConfig, digits
from cotrain.data._duplicates import average_hashes, duplicate_groups
from cotrain.data._fetch_set import terms
from cotrain.data._image_cache import Decoded, FileImages, decode
from cotrain.data._image_files import ImageFiles, Preparation, channels_of, find_pictures, picture
from cotrain.data._image_folders import ImageFolderConfig, TinyImageNetConfig, image_folder, tiny_imagenet
from cotrain.data._image_rows import ImageRows, Images, MappedImages, bytes_of, image_facts
from cotrain.data._images import image_tensor, prepared
from cotrain.data._jitter import Augmentation, JitterConfig, jitter
from cotrain.data._mixing import Batch, MicroStep, MixingConfig, MixingLoader, Schedule
from cotrain.data._multi_task import MultiTaskConfig, multi_task
from cotrain.data._neural_targets import neural_targets
from cotrain.data._public_sets import fetch, public_sets
from cotrain.data._rdm_arrays import RdmArrayConfig
from cotrain.data._rdm_of_responses import RdmOfResponsesConfig, rdm_of_responses
from cotrain.data._recorded import RecordedConfig, recorded
from cotrain.data._session_images import joined_images, session_images
from cotrain.data._simulated_v1 import SimulatedV1Config, simulated_v1
from cotrain.data._simulated_v1_responses import SimulatedV1ResponsesConfig, simulated_v1_responses
from cotrain.data._source import Data, Source, assemble, join, walk
from cotrain.data._splits import SplitConfig, split_groups
from cotrain.data._torchvision_sets import TorchvisionConfig, torchvision_set
from cotrain.data.corruptions import corrupt

__all__ = [
    "ArraysConfig",
    "AugmentConfig",
    "Augmentation",
    "Batch",
    "ClassManifoldsConfig",
    "ConditionLabelsConfig",
    "Data",
    "Decoded",
    "DigitsConfig",
    "FileImages",
    "GaussianSurrogateConfig",
    "ImageFiles",
    "ImageFolderConfig",
    "ImageRows",
    "Images",
    "JitterConfig",
    "LabelArrayConfig",
    "MappedImages",
    "MicroStep",
    "MixingConfig",
    "MixingLoader",
    "MultiTaskConfig",
    "Preparation",
    "RdmArrayConfig",
    "RdmOfResponsesConfig",
    "RecordedConfig",
    "ResponseArrayConfig",
    "ResponseRdmConfig",
    "Schedule",
    "SelectClassesConfig",
    "SelectTasksConfig",
    "ShuffledConfig",
    "SimulatedV1Config",
    "SimulatedV1ResponsesConfig",
    "Source",
    "SplitConfig",
    "TinyImageNetConfig",
    "TorchvisionConfig",
    "arrays",
    "assemble",
    "augment",
    "average_hashes",
    "bytes_of",
    "channels_of",
    "class_manifolds",
    "corrupt",
    "decode",
    "digits",
    "duplicate_groups",
    "fetch",
    "find_pictures",
    "gaussian_surrogate",
    "image_facts",
    "image_folder",
    "image_tensor",
    "jitter",
    "join",
    "joined_images",
    "multi_task",
    "neural_targets",
    "picture",
    "prepared",
    "public_sets",
    "rdm_of_responses",
    "read_arrays",
    "recorded",
    "select_classes",
    "select_tasks",
    "session_images",
    "shown_sources",
    "shuffled",
    "simulated_v1",
    "simulated_v1_responses",
    "split_groups",
    "terms",
    "tiny_imagenet",
    "torchvision_set",
    "walk",
    "with_task",
]
