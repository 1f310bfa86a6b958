"""Non-negative least squares of many directions at once, on a GPU where there is one: block principal pivoting.

Portugal, Judice & Vicente 1994 (Mathematics of Computation 63:625), in the form of Kim & Park 2011 (SIAM Journal on
Scientific Computing 33:3261): all variables on the wrong side change sides at once, and only the last of them where
that has not helped three times in a row.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = 200
PATIENCE = 3  # exchanges of whole blocks that may not help
WRONG = 1e-11  # below 0 by less is 0, in units of the largest agreement
RIDGE = 1e-13  # lets Cholesky's method pass where rows depend on each other
AT_ONCE = 2**24  # numbers in the matrices of the problems that are solved together


def block_pivoting(gram: Floats, agreement: Floats) -> Floats:
    """min over a >= 0 of a.gram a / 2 - a.agreement, for each row of `agreement`.

    Args:
        gram: (n, n), ones on its diagonal.
        agreement: (problems, n).

    Returns:
        (problems, n). Rows that depend on each other may make it go round in circles; check the solutions.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    matrix = torch.from_numpy(gram).to(device)
    matrix = matrix + RIDGE * torch.eye(len(matrix), dtype=matrix.dtype, device=device)
    parts = torch.from_numpy(agreement).to(device).split(max(1, AT_ONCE // len(gram) ** 2))
    solutions: Floats = torch.cat([_solve(matrix, part) for part in parts]).cpu().numpy()
    return solutions


def _solve(gram: torch.Tensor, agreement: torch.Tensor) -> torch.Tensor:
    count, size = agreement.shape
    identity = torch.eye(size, dtype=gram.dtype, device=gram.device)
    limit = WRONG * agreement.abs().amax(1, keepdim=True)
    solution = torch.zeros_like(agreement)
    free = agreement > 0
    fewest = torch.full((count,), size + 1, device=gram.device)
    patience = torch.full((count,), PATIENCE, device=gram.device)
    left = torch.arange(count, device=gram.device)
    for _ in range(ROUNDS):
        inside, given = free[left], agreement[left]
        matrices = torch.where(inside[:, :, None] & inside[:, None, :], gram, identity)
        factor = torch.linalg.cholesky_ex(matrices)[0]
        values = torch.cholesky_solve((given * inside)[:, :, None], factor)[:, :, 0] * inside
        slack = values @ gram - given
        wrong = (inside & (values < -limit[left])) | (~inside & (slack < -limit[left]))
        number = wrong.sum(1)
        solution[left] = values
        better = number < fewest[left]
        patience[left] = torch.where(better, PATIENCE, patience[left] - 1)
        fewest[left] = torch.minimum(number, fewest[left])
        # the last of the wrong ones alone ends after finitely many steps
        last = size - 1 - wrong.flip(1).int().argmax(1)
        alone = torch.nn.functional.one_hot(last, size).bool() & wrong
        free[left] = inside ^ torch.where((patience[left] < 0)[:, None], alone, wrong)
        left = left[number > 0]
        if not len(left):
            break
    return solution.nan_to_num_().clamp_min_(0)
