"""The table of how well neurons are predicted from layers of finished runs, after training and on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.evaluation import Evaluation, EvaluationTable, table_definition
from cotrain.tables.runs import TrainedModel

__all__ = ["Evaluation", "NeuralRegression", "TrainedModel"]  # two that the definition refers to


@schema
class NeuralRegression(EvaluationTable):
    """How well neurons are predicted from layers."""

    kinds = ("cotrain.evaluations.neural_regression",)
    prefix = "regression"
    rows = "Layer"
    by_type: ClassVar[Mapping[str, str]] = {"NeuronRegression": "Neuron"}
    within = ("epoch", "target", "session", "area", "metric", "layer")
    shown = ("median", "low", "high", "normalised", "neurons", "left_out", "scored")
    kept = ("seed",)
    by_epoch = True
    definition = table_definition(
        prefix,
        "Prediction of neurons from layers of a run",
        "of layers, of all epochs, targets, sessions, areas and metrics",
        "regression_seed : int32         # of folds, halvings of repeats, bootstrap and projections",
    )

    class Layer(dj.Part):
        """The neurons of one area and session, or of several, predicted from one layer."""

        definition = """
        # Scores of the neurons of an area, from one layer; null: undefined
        -> master
        epoch : int32                   # weights after so many epochs; 0: as initialised
        target : varchar(64)            # neural task, or the name of a file of the config
        session : varchar(32)           # empty: no sessions, or all of them together
        area : varchar(64)              # empty: all areas, or not known
        metric : varchar(32)            # pearson, explained_variance or r2
        layer_place : int32             # in the order of a pass, counted from 0
        ---
        layer : varchar(255)            # path in the backbone
        depth : float64                 # share of the network's blocks that is done, at most 1
        median = null : float64         # over neurons
        low = null : float64            # 95 percent interval of the median
        high = null : float64
        mean = null : float64           # over neurons
        normalised = null : float64     # median of scores divided as `formula` says
        normalised_low = null : float64 # 95 percent interval of that
        normalised_high = null : float64
        formula : varchar(32)
        fold_median = null : float64    # median over neurons in each fold, mean over folds
        fold_error = null : float64     # standard error of that over folds
        neurons : int32                 # with a score
        left_out : int32                # without: constant, or known for too few stimuli
        reliable : int32                # with a normalised score
        fitted : int32                  # stimuli that a fit saw, the fewest
        scored : int32                  # stimuli
        folds : varchar(64)             # how stimuli were held out
        """

    class Neuron(dj.Part):
        """One neuron, predicted from one layer."""

        definition = """
        # Score of one neuron, from one layer; null: undefined
        -> master
        epoch : int32                   # weights after so many epochs; 0: as initialised
        target : varchar(64)            # neural task, or the name of a file of the config
        session : varchar(32)
        metric : varchar(32)            # pearson, explained_variance or r2
        layer_place : int32             # in the order of a pass, counted from 0
        neuron : int32                  # place in the session, counted from 0
        ---
        layer : varchar(255)            # path in the backbone
        depth : float64                 # share of the network's blocks that is done, at most 1
        area : varchar(64)              # empty: not known
        subject : varchar(64)           # empty: not known
        score = null : float64          # of the predictions of all held-out stimuli together
        ceiling = null : float64        # reliability of the mean response (split halves, Spearman-Brown)
        normalised = null : float64     # the score, divided as the formula of its layer says
        alpha = null : float64          # of ridge, median over folds
        stimuli : int32                 # that were scored
        """
