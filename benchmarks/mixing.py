"""Cost of the mixing schedule: python benchmarks/mixing.py

Prints microseconds a micro-step, without data, for few and many sessions, and what 32 sessions add to an epoch.
"""

from __future__ import annotations

import statistics
import time

from cotrain.data import MixingConfig, Schedule

MAIN_BATCHES, RUNS = 700, 7


def seconds(sessions: int) -> tuple[float, int]:
    """Median time to go through one epoch of the schedule, and its micro-steps."""
    config = MixingConfig(main="objects", ratios=((1, (("v1", 1.0),)),), batch_size=128)
    stimuli = {"objects": {"": 128 * MAIN_BATCHES}, "v1": {f"s{number}": 1500 for number in range(sessions)}}
    times = []
    for _ in range(RUNS):
        schedule = Schedule(config, stimuli)
        started = time.process_time()
        count = sum(1 for _ in schedule.epoch(3))
        times.append(time.process_time() - started)
    return statistics.median(times), count


one, steps = seconds(1)
many, _ = seconds(32)
print(f"{1e6 * one / steps:.2f} us a micro-step with 1 session, {1e6 * many / steps:.2f} us with 32 (limit 10)")
print(f"32 sessions add {many - one:.4f} s an epoch of {steps} micro-steps (limit 0.2)")
