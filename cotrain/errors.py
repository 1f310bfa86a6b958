"""Every error that cotrain raises on purpose. Each text says what was expected, what was found and what to do."""

from __future__ import annotations


class CotrainError(Exception):
    """Base of all of them: catch this one to catch every deliberate error of cotrain."""


class ConfigError(CotrainError):
    """A config holds wrong values or unknown names; the message lists all of them."""


class BuilderError(CotrainError):
    """A name in a config leads to no builder, or to one that may not be used."""


class RecipeError(CotrainError):
    """A recipe cannot be read, or its experiments are wrong; the message lists all of them."""


class DataError(CotrainError):
    """Files or arrays are missing, damaged, or do not fit together."""


class MissingRunError(DataError):
    """A run whose result an experiment needs is not finished, or not on this machine."""


class ModelError(CotrainError):
    """A model cannot be built from its config and the data's info, or is called for a task it lacks."""


class TrainingError(CotrainError):
    """Training cannot start or cannot go on."""


class RunFolderError(TrainingError):
    """A run's folder is in use, holds another experiment, is damaged, or its disk is full."""


class FolderInUseError(RunFolderError):
    """Another process trains in a run's folder."""


class LostRankError(TrainingError):
    """Another of the processes that train together has ended."""


class DatabaseError(CotrainError):
    """The database refuses, or holds something that contradicts what is asked."""


class StoreError(DatabaseError):
    """Weights cannot be put into the store or read from it, or are not what was put there."""


class DatabaseUnavailableError(DatabaseError):
    """No database answers at the place that the settings name."""


class LostClaimError(DatabaseError):
    """A run was taken from this worker, which was silent for too long, or it was deleted."""


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The end of an error text: the nearest known name, or all of them where none is near.

    >>> did_you_mean("epoch", ["epochs", "patience"])
    " Did you mean 'epochs'?"
    """
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(sorted(known))}." if known else ""
