"""The common corruptions of images, batched, the same on every machine."""

from cotrain.data.corruptions._corrupt import CORRUPTIONS_VERSION, corrupt, corrupt_batch, corruption_names
from cotrain.data.corruptions._frost_files import frost_identity
from cotrain.data.corruptions._presets import Preset

__all__ = ["CORRUPTIONS_VERSION", "Preset", "corrupt", "corrupt_batch", "corruption_names", "frost_identity"]
