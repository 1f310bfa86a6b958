"""How well networks predict neurons, beside what the networks are: depth, width, accuracy, trained or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from cotrain.analysis._score_tables import aggregate_scores
from cotrain.errors import DataError
from cotrain.models import MultiTaskModel

if TYPE_CHECKING:
    import pandas as pd

PER_NEURON = ["subject", "session", "neuron"]


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
    selection: pd.DataFrame,
    report: pd.DataFrame,
    networks: Mapping[str, Mapping[str, Any]],
    *,
    metric: str = "pearson",
    by: Sequence[str] = (),
    seed: int = 0,
    **aggregate: Any,
) -> pd.DataFrame:
    """One row a network: its layer that was best on other stimuli, and how well that layer predicts.

    A network with more layers has more of them to be best by chance, so the score of the best layer would grow with
    depth: stimuli that choose and stimuli that report must not be the same.

    Args:
        selection: Tables of `layer_scores`, joined, with the column `network`: of the stimuli that choose.
        report: The same networks, layers and neurons, scored on stimuli that entered no fit and no score of
            `selection`: fitted on those of `selection`, for example.
        networks: {network: {name: fact}}, for example depth, width, accuracy, trained; columns of the result.
        metric: Of both tables.
        by: Columns beside the network, such as "area", in each group of which a layer is chosen for itself.
        seed: Of the bootstrap.
        aggregate: Other arguments of `aggregate_scores`; its `statistic` chooses the layer, too.

    Returns:
        Columns network, those of `by`, layer (chosen), layer_depth (0 to 1), then of `report`: value, low, high,
        neurons and the others of `aggregate_scores`, then the facts. Networks stand in the order of `networks`; one
        without a layer that has a score in `selection` is left out.

    Raises:
        DataError: Tables lack the column, the metric or a network, are one and the same, or have other neurons.
    """
    import pandas as pd

    groups = ["network", *by]
    chosen, told = (_of_metric(table, metric, groups, networks, ["selection", "report"][number])
                    for number, table in enumerate((selection, report)))  # fmt: skip
    keys = [*groups, "layer", *PER_NEURON]
    both = chosen.merge(told, on=keys, how="outer", suffixes=("", "_told"), indicator=True)
    if not (both._merge == "both").all():
        raise DataError(
            f"network_table: {int((both._merge != 'both').sum())} rows (network, layer, neuron) stand in one of the "
            "tables only. Score the same layers and neurons on both parts of the stimuli."
        )
    if np.array_equal(both.score, both.score_told, equal_nan=True):
        raise DataError(
            "network_table: selection and report are the same scores. The layer must be chosen on other stimuli than "
            "those that are reported, or more layers score better by chance."
        )
    layers = [*groups, "layer", "layer_place", "depth"]
    found = aggregate_scores(chosen, layers, seed=seed, **aggregate).dropna(subset="value")
    best = found.loc[found.groupby(groups, sort=False).value.idxmax(), [*groups, "layer"]]
    values = aggregate_scores(told.merge(best, on=[*groups, "layer"]), layers, seed=seed, **aggregate)
    values = values.drop(columns="layer_place").rename(columns={"depth": "layer_depth"})
    facts = pd.DataFrame.from_dict({name: dict(held) for name, held in networks.items()}, orient="index")
    if double := sorted(set(facts.columns) & set(values.columns)):
        raise DataError(f"network_table: facts are called as columns of scores are: {', '.join(double)}. Rename them.")
    table = values.join(facts, on="network")
    order = {name: number for number, name in enumerate(networks)}
    return table.sort_values(["network", *by], key=lambda held: held.map(order) if held.name == "network" else held
                             ).reset_index(drop=True)  # fmt: skip


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


def _of_metric(
    table: pd.DataFrame, metric: str, groups: Sequence[str], networks: Mapping[str, Any], what: str
) -> pd.DataFrame:
    """The rows of one metric and of the networks."""
    if missing := [name for name in (*groups, "metric", "layer", *PER_NEURON) if name not in table]:
        raise DataError(f"network_table, {what}: the table has no column {', '.join(missing)}.")
    held = table[(table.metric == metric) & table.network.isin(list(networks))]
    if without := [name for name in networks if name not in set(held.network)]:
        raise DataError(
            f"network_table, {what}: no {metric!r} scores of {', '.join(without)}. The table has the metrics "
            f"{', '.join(sorted(set(table.metric)))} and the networks {', '.join(map(str, table.network.unique()))}."
        )
    return held
