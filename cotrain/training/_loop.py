"""The loop over epochs: what is trained, validated, told and saved, and when it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from cotrain.models import statistics_of_all
from cotrain.training._evaluation import evaluate
from cotrain.training._hooks import overriding
from cotrain.training._schedules import Verdict
from cotrain.training._sinks import Score, ScoreSink
from cotrain.training._state import TrainingState
from cotrain.training._stopping import StopRequest
from cotrain.training._writer import BackgroundWriter, copied


class TrainingLoop:
    """Trains a state to its end.

    Args:
        state: As it was made, or as a checkpoint left it.
        sinks: Are told every score, in the writer's thread.
        stop: What signals ask for.
        progress: Show a progress bar.

    `saved` is the step of the last checkpoint; None before the first.
    """

    def __init__(self, state: TrainingState, sinks: Sequence[ScoreSink], stop: StopRequest, *, progress: bool) -> None:
        self.state, self.sinks, self.stop = state, sinks, stop
        if state.together is not None:  # what all ranks agree on counts
            state.together.own_stop, self.stop = stop, state.together.stop
        self.saved = state.step if state.history else None
        self.writer = BackgroundWriter()
        self.bar: Any = tqdm(
            total=state.timeline.steps, initial=state.step, unit="step", disable=not progress, mininterval=0.5
        )

    def run(self) -> tuple[int, list[Score]]:
        """Train to the end, or until a stop is asked for: then to the end of the step, which a checkpoint holds.

        Returns:
            The best epoch, whose weights the model then has, and all scores.
        """
        state = self.state
        with ExitStack() as ends:
            if state.together is not None:
                ends.enter_context(statistics_of_all(state.model, state.ranks.stacked, compiled=state.config.compile))
            for hook in state.hooks:
                ends.callback(hook.close)
            ends.callback(self.writer.close)
            ends.enter_context(self.bar)
            if not state.history:
                self._close_epoch(0, state.validate(0), 0.0)
            while state.loader.epoch <= state.config.epochs and not state.done and not state.monitor.stops():
                if state.together is not None:
                    state.together.ask()
                self._stop_if_asked()
                self._epoch()
            self.writer.wait()
        return self._finish()

    def _epoch(self) -> None:
        state = self.state
        epoch, started = state.loader.epoch, time.perf_counter()
        self.bar.set_description(f"epoch {epoch}/{state.config.epochs}", refresh=False)
        state.model.train()
        if state.loader.micro_step == 0:
            with state.alike():
                for begin in overriding(state.hooks, "epoch_start"):
                    begin(epoch)
            if state.gradients is not None:
                state.gradients.begin_epoch()
        seen: set[tuple[str, str]] = set()
        state.optimiser.zero_grad()
        for batch in state.loader:
            state.micro_step(batch)
            seen.add((batch.task, batch.session))
            if batch.step_ends:
                state.optimiser_step(seen)
                seen.clear()
                self.bar.update()
                every = state.config.checkpoint_steps
                due = self.stop or (every and state.step % every == 0)
                if due and state.step % state.timeline.steps_an_epoch:  # an epoch's last step is saved at its end
                    state.sums.require_finite(state.model, epoch, state.history)
                    self._save()
                    self._stop_if_asked()
        with state.alike():
            scores = self._end_epoch(epoch)
        monitored = f"monitored {scores[-1].value:.3f}, best {state.monitor.best:.3f}"
        self.bar.set_postfix_str(monitored, refresh=False)
        self._close_epoch(epoch, scores, time.perf_counter() - started)

    def _end_epoch(self, epoch: int) -> list[Score]:
        """Validate, keep weights that are the best or asked for, and do what monitor and schedule say."""
        state = self.state
        scores = state.training_scores(epoch)
        for end in overriding(state.hooks, "epoch_end"):
            scores += end(epoch)
        with ExitStack() as exchanged:
            for hook in state.hooks:
                exchanged.enter_context(hook.evaluating())
            scores += state.validate(epoch)
            better = state.monitor.better(epoch, scores)
            if better or epoch in state.config.keep_epochs:
                weights = copied(state.model.state_dict())
                if better:
                    state.best = weights
                if epoch in state.config.keep_epochs and state.ranks.first:
                    # before the checkpoint of this epoch: what goes on from that does not come back here
                    self.writer.put(lambda: state.folder.keep(epoch, weights))
        scores.append(Score(epoch, "", "", "validation", "monitored", state.monitor.value(scores)))
        verdict = state.rate.epoch_end(better)
        if verdict is Verdict.RESTORE and state.best is not None:
            state.model.load_state_dict(state.best)
        state.done = verdict is Verdict.STOP
        return scores

    def _finish(self) -> tuple[int, list[Score]]:
        """Restore the best weights, keep them, and read the test split."""
        state, best = self.state, self.state.monitor.best_epoch
        assert state.best is not None  # the first epoch is better than none
        state.model.load_state_dict(state.best)
        if state.ranks.first:
            state.folder.save(state.folder.best, {"epoch": best, "model": state.best})
        held = state.splits["test"]
        test = evaluate(state.model, "test", held, epoch=best, device=state.device, ranks=state.ranks)
        for sink in self.sinks:
            sink.finish(best, test)
        if state.together is not None:
            state.together.ask()
            self._stop_if_asked()
        return best, [*state.history, *test]

    def _close_epoch(self, epoch: int, scores: list[Score], seconds: float) -> None:
        self.state.history += scores

        def tell() -> None:
            for sink in self.sinks:
                sink.epoch(epoch, scores, seconds)

        self.writer.put(tell)
        self._save()

    def _save(self) -> None:
        state = self.state
        step = state.step
        of_ranks = {} if state.together is None else state.together.state(state.sums)
        if state.ranks.first:
            held = {**state.state_dict(), **of_ranks}
            self.writer.put(lambda: state.folder.save_checkpoint(step, held))
        self.saved = step

    def _stop_if_asked(self) -> None:
        if self.stop:
            self.writer.wait()
            # a launcher that sees one rank end may end the others, which must have written by then
            self.state.ranks.wait()
            self.stop.obey()
