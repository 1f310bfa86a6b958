"""Tables of what layers of finished runs are evaluated for: geometry, order of objects, linear readout."""

from __future__ import annotations

from cotrain.tables._datajoint import dj
from cotrain.tables.configs import schema
from cotrain.tables.evaluation import Evaluation, EvaluationTable, table_definition
from cotrain.tables.runs import TrainedModel

__all__ = ["Evaluation", "LinearSvmScores", "Rsa", "SitScores", "TrainedModel"]  # both that definitions refer to


@schema
class Rsa(EvaluationTable):
    """How alike the geometries of layers and of recordings are."""

    kinds = ("cotrain.evaluations.rsa",)
    prefix = "rsa"
    rows = "Layer"
    within = ("target", "session", "dissimilarity", "comparison", "layer")
    shown = ("similarity", "low", "high", "ceiling_lower", "ceiling_upper")
    kept = ("seed",)
    definition = table_definition(
        prefix,
        "Representational similarity of layers of a run to recordings",
        "of layers, of all targets, dissimilarities and comparisons",
        "rsa_seed : int32                # of bootstrap, halvings of repeats, and projections",
    )

    class Layer(dj.Part):
        """One layer and one target, by one dissimilarity and comparison."""

        definition = """
        # Similarity of the RDMs of a layer and a target; null: undefined
        -> master
        target : varchar(64)            # RDM or neural task, or the name of a file of the config
        session : varchar(32)           # empty: no sessions, or all of them together, as subjects
        dissimilarity : varchar(32)     # of features, and of responses unless they are crossvalidated
        comparison : varchar(32)        # of the two RDMs
        layer_place : int32             # in the order of a pass, counted from 0
        ---
        layer : varchar(255)            # path in the backbone
        similarity = null : float64     # larger is more alike; mean over subjects
        standard_error = null : float64 # of the bootstrap
        low = null : float64            # 95 percent interval
        high = null : float64
        ceiling_lower = null : float64  # what the best model can reach
        ceiling_upper = null : float64
        ceiling_of : varchar(12)        # subjects or repeats; empty: no ceiling
        subjects : int32
        stimuli : int32                 # rows of the RDMs
        """


@schema
class SitScores(EvaluationTable):
    """How alike layers and a recording order objects."""

    kinds = ("cotrain.evaluations.sit_scores",)
    prefix = "sit"
    rows = "Layer"
    within = ("target", "session", "layer")
    shown = ("sit", "sit_low", "sit_high", "images")
    kept = ("variant", "seed")
    definition = table_definition(
        prefix,
        "SIT scores of layers of a run",
        "of layers, of all recordings",
        "sit_variant : varchar(16)       # all_images or published",
        "sit_seed : int32                # of images, noise, bootstrap and projections",
    )

    class Layer(dj.Part):
        """One layer and one recording."""

        definition = """
        # SIT score of a layer; null: undefined
        -> master
        target : varchar(64)            # neural task, or the name of a file of the config
        session : varchar(32)
        layer_place : int32             # in the order of a pass, counted from 0
        ---
        layer : varchar(255)            # path in the backbone
        sit = null : float64            # Spearman correlation of RDMs among objects, mean over draws
        sit_spread = null : float64     # standard deviation over draws, which share images
        sit_low = null : float64        # 95 percent interval over objects, not of the published variant
        sit_high = null : float64
        objects : int32
        images : int32                  # of each object in one RDM, the fewest
        neurons : int32
        """


@schema
class LinearSvmScores(EvaluationTable):
    """How well classes are read out of layers by a line."""

    kinds = ("cotrain.evaluations.linear_svm_scores",)
    prefix = "svm"
    rows = "Layer"
    within = ("target", "session", "layer")
    shown = ("svm", "svm_low", "svm_high", "chance", "images")
    kept = ("variant", "seed")
    definition = table_definition(
        prefix,
        "Accuracy of linear support vector machines on layers of a run",
        "of layers, of all classifications",
        "svm_variant : varchar(16)       # nested, published or grid_search",
        "svm_seed : int32                # of splits, subsets, noise and projections",
    )

    class Layer(dj.Part):
        """One layer and the images of one classification."""

        definition = """
        # Linear readout of a layer; null: undefined
        -> master
        target : varchar(64)            # classification, or the name of a file of the config
        session : varchar(32)
        layer_place : int32             # in the order of a pass, counted from 0
        ---
        layer : varchar(255)            # path in the backbone
        svm = null : float64            # accuracy on held-out images, 0 to 1
        svm_spread = null : float64     # standard deviation over splits, which share images
        svm_low = null : float64        # 95 percent interval over images, of the nested variant
        svm_high = null : float64
        chance : float64                # of the most frequent class
        objects : int32                 # classes
        images : int32                  # of all classes
        unfinished : float64            # share of fits that had not converged
        """
