"""Analyses and pictures of data and of what was trained."""

from cotrain.analysis._compare_rdms import compare_rdms
from cotrain.analysis._crossvalidated_rdm import crossvalidated_rdm
from cotrain.analysis._figures import draw_rdm, overview_figure
from cotrain.analysis._inspect import Copies, Inspection, find_copies, inspect_data
from cotrain.analysis._inspection_figure import inspection_figure
from cotrain.analysis._noise_ceiling import noise_ceiling
from cotrain.analysis._noise_precision import noise_precision
from cotrain.analysis._paired import paired_differences
from cotrain.analysis._rdm import rdm
from cotrain.analysis._rsa_bootstrap import RsaBootstrap, rsa_bootstrap
from cotrain.analysis._rsa_table import rsa_table, second_order_rdm
from cotrain.analysis._rsa_tests import PermutationTest, permutation_test, rsa_tests
from cotrain.analysis._rsatoolbox import from_rsatoolbox, to_rsatoolbox
from cotrain.analysis._tagged_rdm import Rdm

__all__ = [
    "Copies",
    "Inspection",
    "PermutationTest",
    "Rdm",
    "RsaBootstrap",
    "compare_rdms",
    "crossvalidated_rdm",
    "draw_rdm",
    "find_copies",
    "from_rsatoolbox",
    "inspect_data",
    "inspection_figure",
    "noise_ceiling",
    "noise_precision",
    "overview_figure",
    "paired_differences",
    "permutation_test",
    "rdm",
    "rsa_bootstrap",
    "rsa_table",
    "rsa_tests",
    "second_order_rdm",
    "to_rsatoolbox",
]
