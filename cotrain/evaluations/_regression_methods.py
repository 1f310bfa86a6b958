"""Ways from features to responses, as configs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, MinLen
from pydantic import AfterValidator

from cotrain.analysis import Ols, Pls, PrincipalComponents, Ridge
from cotrain.config import Config
from cotrain.evaluations._robustness import each_once

# numbers as they are written: powers that are computed differ in their last bits between machines, and so would keys
ALPHAS = (
    1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 1e1, 3e1, 1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8,
)  # fmt: skip
Alphas = Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1), AfterValidator(each_once)]


class RidgeConfig(Config):
    """`cotrain.analysis.Ridge`: each neuron has an alpha of its own, chosen within the fitted stimuli."""

    kind: ClassVar[str] = "cotrain.evaluations.RidgeConfig"
    alphas: Alphas = ALPHAS  # in squared units of the features
    standardise: bool = False  # whether features are z-scored over the fitted stimuli


class PlsConfig(Config):
    """`cotrain.analysis.Pls`: partial least squares of all neurons of a session; 25 components are Brain-Score's."""

    kind: ClassVar[str] = "cotrain.evaluations.PlsConfig"
    components: Annotated[int, Ge(1)] = 25
    scale: bool = False  # whether features and responses are divided by their standard deviation


class OlsConfig(Config):
    """`cotrain.analysis.Ols`: ordinary least squares; of use with fewer features than stimuli."""

    kind: ClassVar[str] = "cotrain.evaluations.OlsConfig"


MethodConfig = RidgeConfig | PlsConfig | OlsConfig


def method_of(config: MethodConfig, components: int | None) -> Ridge | Pls | Ols | PrincipalComponents:
    """The same for `cotrain.analysis.regress`.

    Args:
        config: What is fitted.
        components: Of principal components, of the fitted stimuli alone, that it is fitted on; None: on all features.
    """
    if isinstance(config, RidgeConfig):
        method: Ridge | Pls | Ols = Ridge(config.alphas, standardise=config.standardise)
    elif isinstance(config, PlsConfig):
        method = Pls(config.components, config.scale)
    else:
        method = Ols()
    return method if components is None else PrincipalComponents(components, method)
