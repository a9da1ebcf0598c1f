"""Least squares with an intercept per cell: the intercepts are taken out first, exactly.

With X = [D F], D saying which cell a unit belongs to, the coefficients of F are those of F without
its cell means on y without its cell means (Frisch and Waugh 1933, Econometrica 1(4)), and each
intercept follows from the means. A year of hours has 168 intercepts and at most 14 other terms:
what is solved shrinks from 182 columns to 7. Column by column Householder QR, fixed order, no BLAS.

A column that adds nothing to those before it inside any cell (a temperature that was never reached)
is left out: its coefficient and its row and column of `root` are 0.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.data import Flags
from joulemark_gateway.measure.linear import Positions
from joulemark_gateway.measure.qr import Array

_NOTHING_LEFT = 1e-9  # of a column's own norm


@compiled
def partial_fit(
    block: Array, cell: Positions, cells: int, weight: Array
) -> tuple[Array, Array, Array, Array]:
    """The weighted least-squares fit of the last row of a block on its other rows and the cells.

    Args:
        block: q columns of the design and the energy, each along a row, shape (q + 1, n).
        cell: cell of each unit, from 0, shape (n,).
        cells: how many cells there are.
        weight: weight of each unit, at least 0, shape (n,).

    Returns:
        coefficients, shape (q,); upper triangular `root` with (F'WF)^-1 = root root' for F without
        its cell means, shape (q, q); weighted cell means of the rows, NaN in a cell without units,
        shape (q + 1, cells); weight of each cell, shape (cells,).
    """
    rows, n = block.shape
    q = rows - 1
    total = np.zeros(cells)
    for i in range(n):
        total[cell[i]] += weight[i]
    means = np.zeros((rows, cells))
    a = np.empty((rows, n))
    limit = np.zeros(rows)
    half = np.sqrt(weight)
    for j in range(rows):
        for i in range(n):
            means[j, cell[i]] += weight[i] * block[j, i]
        for c in range(cells):
            means[j, c] = means[j, c] / total[c] if total[c] > 0.0 else np.nan
        square = 0.0
        for i in range(n):
            if weight[i] > 0.0:
                a[j, i] = half[i] * (block[j, i] - means[j, cell[i]])
            else:
                a[j, i] = 0.0
            square += weight[i] * block[j, i] * block[j, i]
        limit[j] = _NOTHING_LEFT * np.sqrt(square)
    kept = np.zeros(q, np.int64)
    rank = 0
    for j in range(q):
        if rank < n and _reflect_row(a, j, rank, limit[j]):
            kept[rank] = j
            rank += 1
    beta = np.zeros(q)
    root = np.zeros((q, q))
    for r in range(rank - 1, -1, -1):
        left = a[q, r]
        for s in range(r + 1, rank):
            left -= a[kept[s], r] * beta[kept[s]]
        diagonal = a[kept[r], r]
        beta[kept[r]] = left / diagonal
        root[kept[r], kept[r]] = 1.0 / diagonal
        for s in range(r + 1, rank):
            left = 0.0
            for m in range(r + 1, s + 1):
                left -= a[kept[m], r] * root[kept[m], kept[s]]
            root[kept[r], kept[s]] = left / diagonal
    return beta, root, means, total


@compiled
def two_state_fit(
    block: Array, cell: Positions, busy: Flags, weight: Array
) -> tuple[Array, Array, Array, Array]:
    """As `partial_fit` where busy cells and the others have columns of their own: two small fits.

    Args:
        block: k columns and the energy, each along a row, shape (k + 1, n).
        cell: cell of each unit, shape (n,).
        busy: which cells are busy, shape (cells,).
        weight: weight of each unit, shape (n,).

    Returns:
        the same as for the 2 k columns of the busy and then of the other cells.
    """
    k, cells = block.shape[0] - 1, busy.size
    beta = np.zeros(2 * k)
    root = np.zeros((2 * k, 2 * k))
    means = np.zeros((2 * k + 1, cells))
    total = np.zeros(cells)
    for state in range(2):
        of_state = busy[cell] == (state == 0)
        units = np.flatnonzero(of_state)
        part = np.empty((k + 1, units.size))
        for j in range(k + 1):
            for i in range(units.size):
                part[j, i] = block[j, units[i]]
        b, r, mean, seen = partial_fit(part, cell[units], cells, weight[units])
        first = state * k
        beta[first : first + k] = b
        root[first : first + k, first : first + k] = r
        for c in range(cells):
            if seen[c] > 0.0:
                total[c] = seen[c]
                means[first : first + k, c] = mean[:k, c]
                means[2 * k, c] = mean[k, c]
    for c in range(cells):
        if total[c] == 0.0:
            means[:, c] = np.nan
    return beta, root, means, total


@compiled
def intercepts(beta: Array, means: Array) -> Array:
    """The intercept of each cell, NaN in a cell without units, shape (cells,)."""
    q = beta.size
    alpha: Array = means[q].copy()
    for j in range(q):
        for c in range(alpha.size):
            alpha[c] -= beta[j] * means[j, c]
    return alpha


@compiled
def predicted(block: Array, cell: Positions, alpha: Array, beta: Array) -> Array:
    """The fit's value for each unit; NaN in a cell that has no intercept, shape (n,)."""
    out = np.empty(cell.size)
    for i in range(cell.size):
        out[i] = alpha[cell[i]]
    for j in range(beta.size):
        for i in range(cell.size):
            out[i] += beta[j] * block[j, i]
    return out


@compiled
def pull(
    root: Array, means: Array, total: Array, cell_sums: Array, sums: Array
) -> tuple[Array, Array]:
    """The vector z = (X'WX)^-1 v for the sum v of some rows of the design.

    Predicting with it instead of the coefficients, times its weight, gives how much of each unit's
    energy enters the predicted sum.

    Args:
        root: from `partial_fit`, shape (q, q).
        means: from `partial_fit`, shape (q + 1, cells).
        total: from `partial_fit`, shape (cells,).
        cell_sums: summed rows in each cell, shape (cells,).
        sums: the sums of the other columns, shape (q,).

    Returns:
        z of the cells, NaN where a cell has no units, and z of the columns.
    """
    q, cells = root.shape[0], total.size
    v = sums.copy()
    for j in range(q):
        for c in range(cells):
            if cell_sums[c] != 0.0:
                v[j] -= cell_sums[c] * means[j, c]
    inner = np.zeros(q)
    for j in range(q):
        for k in range(j + 1):
            inner[j] += root[k, j] * v[k]
    z = np.zeros(q)
    for j in range(q):
        for k in range(j, q):
            z[j] += root[j, k] * inner[k]
    of_cells = np.full(cells, np.nan)
    for c in range(cells):
        if total[c] > 0.0:
            of_cells[c] = cell_sums[c] / total[c]
            for j in range(q):
                of_cells[c] -= means[j, c] * z[j]
    return of_cells, z


@compiled
def _reflect_row(a: Array, j: int, rank: int, limit: float) -> bool:
    """Make row j of `a` zero beyond `rank` by one reflection of the rows from j on.

    Returns:
        whether there was anything left to reflect.
    """
    n = a.shape[1]
    norm = np.sqrt(_product(a[j], a[j], rank))
    if norm <= limit:
        return False
    diagonal = -norm if a[j, rank] > 0.0 else norm
    head = a[j, rank] - diagonal
    square = -diagonal * head  # half of v'v
    a[j, rank] = head
    for k in range(j + 1, a.shape[0]):
        factor = _product(a[j], a[k], rank) / square
        for i in range(rank, n):
            a[k, i] -= factor * a[j, i]
    a[j, rank] = diagonal
    return True


@compiled
def _product(u: Array, v: Array, first: int) -> float:
    """The product u'v from an index on, in four interleaved sums, which is faster and as fixed."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = first + (u.size - first) // 4 * 4
    for i in range(first, whole, 4):
        a += u[i] * v[i]
        b += u[i + 1] * v[i + 1]
        c += u[i + 2] * v[i + 2]
        d += u[i + 3] * v[i + 3]
    for i in range(whole, u.size):
        a += u[i] * v[i]
    return (a + b) + (c + d)
