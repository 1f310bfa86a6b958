"""A config in the wrong field of the trainer's is named, before anything is trained."""

from __future__ import annotations

import pytest

from cotrain import run
from cotrain.data import JitterConfig
from cotrain.errors import TrainingError
from cotrain.losses import CrossEntropyConfig, NashBargainingConfig
from cotrain.models import SmallCnnConfig
from cotrain.training import AdamWConfig, ConstantConfig, CosineConfig

WRONG = {
    "optimiser": (CosineConfig(), ConstantConfig(), SmallCnnConfig(), JitterConfig(), CrossEntropyConfig()),
    "schedule": (AdamWConfig(), SmallCnnConfig(), CrossEntropyConfig(), NashBargainingConfig()),
    "augmentation": (AdamWConfig(), CosineConfig(), CrossEntropyConfig(), NashBargainingConfig()),
    "weighting": (AdamWConfig(), CosineConfig(), SmallCnnConfig(), JitterConfig(), CrossEntropyConfig()),
}


@pytest.mark.parametrize(("field", "config"), [(field, config) for field, held in WRONG.items() for config in held])
def test_what_a_field_is_not_for_is_refused(field, config, digits, tmp_path):
    value = (("digits", config),) if field == "augmentation" else config
    text = rf"{config.kind} is nothing for the trainer's field '{field}'.*Name another config there"
    with pytest.raises(TrainingError, match=text):
        run(digits(**{field: value}), out=tmp_path / "run")
    assert not list(tmp_path.rglob("*.pt"))
