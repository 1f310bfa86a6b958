"""Tables of scores under corruption as evaluations make them, generated: known clean scores, slopes and gains."""

from __future__ import annotations

import numpy as np
import pandas as pd

COMMON = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
LABELS = ("baseline", "with V1", "shuffled", "oracle")
FEW = ("gaussian_noise", "defocus_blur", "fog", "contrast")


def scores(
    labels=LABELS, seeds=5, corruptions=COMMON, severities=(1, 2, 3, 4, 5), metric="accuracy", task="objects", draw=0
):
    """One row a run and condition; scores fall with severity, later labels are a little better under corruption."""
    random = np.random.default_rng(draw)
    slopes = random.uniform(0.03, 0.12, len(corruptions))
    rows = []
    for number, label in enumerate(labels):
        for seed in range(seeds):
            key = f"{number:04x}{seed:04x}" * 4
            clean = 0.75 + random.normal(0, 0.02)
            own = [("clean", 0, clean)]
            for name, slope in zip(corruptions, slopes, strict=True):
                for severity in severities:
                    gain = 0.01 * number * severity
                    own.append((name, severity, clean - slope * severity + gain + random.normal(0, 0.01)))
            rows += [(key, label, seed, task, "", name, severity, metric, value) for name, severity, value in own]
    columns = ["run_key", "label", "seed", "task", "session", "corruption", "severity", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)
