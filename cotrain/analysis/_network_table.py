"""How well networks predict neurons, beside what the networks are: depth, width, accuracy, trained or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from cotrain.analysis._layer_selection import chosen_layers
from cotrain.analysis._score_tables import aggregate_scores
from cotrain.errors import DataError
from cotrain.models import MultiTaskModel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class NetworkSize:
    """What is counted of a network.

    Args:
        depth: Convolutions and linear layers.
        width: Most channels or units that one of them gives.
        parameters: Numbers that are learnt.
    """

    depth: int
    width: int
    parameters: int


def network_size(model: nn.Module) -> NetworkSize:
    """Count; of a co-trained model its backbone alone.

    >>> network_size(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)))
    NetworkSize(depth=2, width=8, parameters=234)
    """
    network = model.backbone if isinstance(model, MultiTaskModel) else model
    widths = [
        int(module.weight.shape[0])  # of transposed convolutions it would be the other axis
        for module in network.modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    ]
    return NetworkSize(len(widths), max(widths, default=0), sum(held.numel() for held in network.parameters()))


def network_table(
    scores: pd.DataFrame,
    networks: Mapping[str, Mapping[str, Any]],
    *,
    metric: str = "pearson",
    by: Sequence[str] = (),
    selection: str = "selection",
    report: str = "report",
    **aggregate: Any,
) -> pd.DataFrame:
    """One row a network: its layer that was best on some stimuli, and how well that layer predicts on others.

    A network with more layers has more of them to be best by chance, so that the score of the best layer would grow
    with depth: the stimuli that choose are not those that report.

    Args:
        scores: Tables of `layer_scores` with `selection`, joined, and the column `network`.
        networks: {network: {name: fact}}, for example depth, width, accuracy, trained; columns of the result.
        metric: Of the scores.
        by: Columns beside the network, such as "area", in each group of which a layer is chosen for itself.
        selection, report: Values of the column `split`, as for `chosen_layers`.
        aggregate: Other arguments of `aggregate_scores`.

    Returns:
        Columns network, those of `by`, layer (chosen), layer_depth (0 to 1), those of `aggregate_scores`, and the
        facts. Networks stand in the order of `networks`.

    Raises:
        DataError: A network has no scores of that metric, or what `chosen_layers` finds wrong.
    """
    import pandas as pd

    if missing := [name for name in ("network", "metric") if name not in scores]:
        raise DataError(f"network_table: the scores lack the column {', '.join(missing)}. Name each network in it.")
    held = scores[(scores.metric == metric) & scores.network.isin(list(networks))]
    if without := [name for name in networks if name not in set(held.network)]:
        raise DataError(
            f"network_table: there are no {metric!r} scores of {', '.join(without)}. There are the metrics "
            f"{', '.join(sorted(set(scores.metric)))} and the networks {', '.join(map(str, scores.network.unique()))}."
        )
    groups = ["network", *by]
    best = chosen_layers(held, selection=selection, report=report, per=groups)
    table = aggregate_scores(best, [*groups, "layer", "depth"], **aggregate).rename(columns={"depth": "layer_depth"})
    facts = pd.DataFrame.from_dict({name: dict(found) for name, found in networks.items()}, orient="index")
    if double := sorted(set(facts.columns) & set(table.columns)):
        raise DataError(f"network_table: facts are called as columns of scores are: {', '.join(double)}. Rename them.")
    table["place"] = table.network.map({name: number for number, name in enumerate(networks)})
    table = table.sort_values(["place", *by]).drop(columns="place")
    return table.join(facts, on="network").reset_index(drop=True)


def network_correlations(table: pd.DataFrame, facts: Sequence[str] = ("depth", "width", "accuracy")) -> pd.DataFrame:
    """Spearman correlation over networks of the score with each fact.

    Args:
        table: Of `network_table`, for one area; networks to be compared alone, as those that are trained.
        facts: Numeric columns.

    Returns:
        Columns fact, spearman, p (of no correlation, by permutation of the networks: all permutations of up to 8, else
        9,999 drawn ones), networks (that have score and fact). NaN for fewer than 3 networks, or a constant fact.

    Raises:
        DataError: The table lacks a fact, or has a network twice.
    """
    import pandas as pd
    from scipy.stats import permutation_test, rankdata

    if missing := [name for name in facts if name not in table]:
        raise DataError(f"network_correlations: the table has no {', '.join(missing)}.")
    if table.network.duplicated().any():
        raise DataError("network_correlations: a network stands there several times. Take one area at a time.")
    rows = []
    for fact in facts:
        known = table[["value", fact]].astype(float).dropna()
        ranks = [rankdata(known[name]) for name in ("value", fact)]
        if len(known) < 3 or any(np.ptp(rank) == 0 for rank in ranks):
            rows.append({"fact": fact, "spearman": np.nan, "p": np.nan, "networks": len(known)})
            continue
        held = permutation_test(
            (ranks[0],),
            lambda x, other=ranks[1]: np.corrcoef(x, other)[0, 1],
            permutation_type="pairings",
            vectorized=False,
            n_resamples=np.inf if len(known) <= 8 else 9999,
            rng=np.random.default_rng(0),
        )
        rows.append({"fact": fact, "spearman": held.statistic, "p": held.pvalue, "networks": len(known)})
    return pd.DataFrame(rows)
