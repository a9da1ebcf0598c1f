"""Energy by time of the week and outdoor temperature, or by shift, temperature and production.

y = alpha_cell + sum_k beta_(state, k) f_k(T) [+ sum_j gamma_j P_j]: a level of its own for each
time of the week, and piecewise straight in temperature, with other slopes in the busy times than in
the quiet ones. Units are days (a cell is a weekday), hours (168 cells) or 15 minutes (672).

Source: Mathieu et al. 2011 (IEEE Transactions on Smart Grid 2(3)); CalTRACK 2.0, methods 3.7-3.11.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.linear import Positions
from joulemark_gateway.measure.models.base import Fitted, Term
from joulemark_gateway.measure.models.cells import DAY_MIN, Cells, TimesOfWeek
from joulemark_gateway.measure.models.cellwise import CellLinear, Cellwise
from joulemark_gateway.measure.models.partial import predicted
from joulemark_gateway.measure.models.partial_model import Form, PartialModel, settle, solve
from joulemark_gateway.measure.models.temperature_bins import KNOTS_C, LEAST_BIN_H
from joulemark_gateway.measure.qr import Array, products
from joulemark_gateway.measure.sums import squares, total

_US_PER_MIN = 60_000_000


def times_of_week(data: Data) -> TimesOfWeek:
    """The cells of the units that the data have; a day of 23 or 25 hours is a day.

    Raises:
        MeasureError: `too_few_units`, `bad_time_of_week`.
    """
    if data.n == 0:
        raise _refused("too_few_units", "there is no unit", "Lengthen it.")
    minutes = round(data.median_length_us / _US_PER_MIN)
    return TimesOfWeek(minutes)


def fit_time_of_week_temperature(
    data: Data,
    *,
    temperature: str | None = "temperature_c",
    cells: Cells | None = None,
    production: tuple[str, ...] = (),
    knots_c: tuple[float, ...] = KNOTS_C,
    least_bin_h: float = LEAST_BIN_H,
) -> Fitted:
    """One model for the whole baseline.

    Args:
        data: the baseline, without holes.
        temperature: driver; None: the calendar alone, which is shown and never proof.
        cells: `Shifts` of a works; None: times of the week.
        production: drivers that say how much was made.
        knots_c: where the slope may change. [C]
        least_bin_h: bins with less are merged; 0 keeps the knots. [h]

    Raises:
        MeasureError: `too_few_units`, `no_load`, `constant_load`, `constant_driver`,
            `collinear_drivers`, `missing_driver`, `bad_time_of_week`.
    """
    calendar = times_of_week(data) if cells is None else cells
    whole = np.ones(data.n)
    check(data, *([] if temperature is None else [temperature]), *production)
    cell = calendar.of(data)
    form = settle(
        data,
        calendar,
        cell,
        whole,
        temperature=temperature,
        knots_c=knots_c,
        least_bin_h=least_bin_h,
        production=production,
    )
    return fitted(data, cell, solve(data, form, cell, whole))


def check(data: Data, *drivers: str) -> None:
    """Refuse what no model can be fitted to.

    Raises:
        MeasureError: `too_few_units`, `no_load`, `constant_load`, `constant_driver`.
    """
    if data.n < 2:
        raise _refused("too_few_units", f"it has {data.n} units", "Lengthen it.")
    if not np.any(data.energy_wh):
        raise _refused("no_load", "the meter counted nothing in it", "Check the energy point.")
    if np.all(data.energy_wh == data.energy_wh[0]):
        raise _refused("constant_load", "every unit uses the same", "Check the energy point.")
    for name in drivers:
        column = data.driver(name)
        if np.all(column == column[0]):
            raise _refused("constant_driver", f"{name} never changes", "Leave it out.")


def fitted(data: Data, cell: Positions, model: PartialModel) -> Fitted:
    """An unweighted partial fit as a model of the terms that it kept."""
    form, names = model.form, model.form.cells.names
    seen, kept = model.seen, model.kept
    first = len(form.names) - len(form.production)
    lost = [form.production[j - first] for j in range(first, len(form.names)) if j not in kept]
    if lost:
        raise _refused(
            "collinear_drivers", f"{lost[0]} follows from the other terms", "Leave it out."
        )
    p = seen.size + kept.size
    place = np.full(model.total.size, -1)
    place[seen] = np.arange(seen.size)
    if data.n <= p:
        raise _refused("too_few_units", f"{data.n} units cannot carry {p} terms", "Lengthen it.")

    def rows(other: Data) -> Array:
        where = form.cells.of(other)
        return _rows(form.columns(other, where)[kept], place[where], seen.size)

    columns = form.columns(data, cell)
    e = data.energy_wh - predicted(columns, cell, model.alpha, model.beta)

    def spread_out() -> tuple[Array, Array]:
        return _rows(columns[kept], place[cell], seen.size), _basis(model)

    beta = np.concatenate([model.alpha[seen], model.beta[kept]])
    linear = CellLinear(data, beta, e, _sums(data.energy_wh, e), spread_out)
    terms = tuple([Term(names[c], "Wh") for c in seen] + [Term(*form.names[j]) for j in kept])
    facts = {f"knot_{k + 1}_c": float(knot) for k, knot in enumerate(form.knots_c)}
    facts["occupied_cells"] = float(np.count_nonzero(form.occupied[seen]))
    facts["cells"] = float(seen.size)
    structure = Cellwise(model, cell, columns)
    return Fitted(_identity(form), linear, terms, rows, rows, 0, facts, structure=structure)


def _rows(columns: Array, place: Positions, cells: int) -> Array:
    """The design: the cells, then the other columns; NaN where `place` is -1, shape (n, p)."""
    x = np.zeros((place.size, cells + columns.shape[0]))
    x[np.arange(place.size), place] = 1.0
    x[:, cells:] = columns.T
    x[place < 0] = np.nan
    return x


def _basis(model: PartialModel) -> Array:
    """The basis of all terms, from that of the columns without their cell means.

    That of X = [D F] is the inverse of the triangle of its orthonormal columns: those of the cells,
    and those of F without its cell means.
    """
    seen, kept = model.seen, model.kept
    c, p = seen.size, seen.size + kept.size
    root = np.ascontiguousarray(model.root[np.ix_(kept, kept)])
    means = np.ascontiguousarray(model.means[np.ix_(kept, seen)].T)
    basis = np.zeros((p, p))
    basis[:c, :c] = np.diag(1.0 / np.sqrt(model.total[seen]))
    basis[:c, c:] = -products(means, root)
    basis[c:, c:] = root
    return basis


def _sums(y: Array, e: Array) -> tuple[float, float]:
    """SSE and SST."""
    return squares(e, 0.0), squares(y, total(y) / y.size)


def _identity(form: Form) -> str:
    calendar = "time-of-week" if isinstance(form.cells, TimesOfWeek) else "shift"
    step = ""
    if isinstance(form.cells, TimesOfWeek):
        step = "-daily" if form.cells.step_min == DAY_MIN else f"-{form.cells.step_min}min"
    return calendar + ("" if form.temperature is None else "-temperature") + step


def _refused(code: str, what: str, do: str) -> MeasureError:
    return MeasureError(f"The baseline gives no model: {what}.", do, code=code)
