"""The plan's counters found in the histories, checked, and cut into the units of both periods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from joulemark_agent.contract.committed import ENERGY
from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.factor import DATASET_CHECK, Factor, FactorSet
from joulemark_agent.contract.quantities import unit_of
from joulemark_gateway.evidence.history import DeviceHistory
from joulemark_gateway.measure.calendar import US_PER_DAY, US_PER_HOUR, grid
from joulemark_gateway.measure.intervals import Counted, counted
from joulemark_gateway.measure.means import averaged
from joulemark_gateway.measure.periods import Units, units_of
from joulemark_gateway.measure.project import Dates, PointOf, Project
from joulemark_gateway.measure.sufficiency import POLICIES

NOMINAL_US = {"day": US_PER_DAY, "hour": US_PER_HOUR}


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that is read from the histories before any model; energy is counter 0."""

    project: Project
    zone: ZoneInfo
    counters: tuple[Counted, ...]
    baseline: Units
    reporting: Units

    @property
    def driver_units(self) -> list[str]:
        """The unit of each driver."""
        return [counter.unit for counter in self.counters[1:]]


def prepare(project: Project, histories: Mapping[str, DeviceHistory]) -> Prepared:
    """The plan with its counters and units.

    Raises:
        MeasureError: `missing_device`, `missing_point`, `not_a_counter`, `not_energy`,
            `not_in_envelope`, `wrong_site`, `mixed_clocks`, `synthetic_not_declared`,
            `counter_out_of_range`.
    """
    zone = ZoneInfo(project.time_zone)
    places = (project.energy, *project.drivers)
    counters = tuple(_counter(project, place, histories) for place in places)
    _check_together(project, counters)
    policy = POLICIES[project.sufficiency_policy]
    excluded = [item for item in project.non_routine if item.treatment == "exclude"]

    def units(dates: Dates) -> Units:
        cut = grid(dates.first, dates.end, project.unit, zone)
        return units_of(
            cut,
            counters,
            excluded,
            nominal_us=NOMINAL_US[project.unit],
            least_measured=policy.min_measured_ratio,
        )

    return Prepared(project, zone, counters, units(project.baseline), units(project.reporting))


def factors_by_day(project: Project, factors: FactorSet) -> dict[date, Factor]:
    """The emission factor of each local day of the reporting period.

    Raises:
        MeasureError: `dataset_check_factor`, `wrong_factor_set`, `no_factor`, `ambiguous_factor`.
    """
    choice = project.factors
    if choice.rule_set == DATASET_CHECK:
        raise _dataset_check()
    if factors.factor_set != choice.set:
        raise MeasureError(
            f"The factors are of the set {factors.factor_set!r}, not {choice.set!r}.",
            "Give the set that the project names.",
            code="wrong_factor_set",
        )
    by_day: dict[date, Factor] = {}
    day = project.reporting.first
    while day < project.reporting.end:
        factor = factors.choose(rule_set=choice.rule_set, jurisdiction=choice.jurisdiction, day=day)
        if DATASET_CHECK in factor.rule_sets:
            raise _dataset_check()
        by_day[day] = factor
        day += timedelta(days=1)
    return by_day


def _dataset_check() -> MeasureError:
    return MeasureError(
        "A factor found inside measured data checks arithmetic and proves no CO2e.",
        "Name a rule set with a published factor.",
        code="dataset_check_factor",
    )


def _counter(project: Project, place: PointOf, histories: Mapping[str, DeviceHistory]) -> Counted:
    history = histories.get(place.device)
    if history is None:
        raise MeasureError(
            f"There is no evidence of the device {place.device!r}.",
            f"There is some of: {', '.join(sorted(histories)) or 'none'}.",
            code="missing_device",
        )
    if history.site != project.site:
        raise MeasureError(
            f"{place.device!r} stands at the site {history.site!r}, not {project.site!r}.",
            "Name the site of the devices in the project.",
            code="wrong_site",
        )
    try:
        point = history.profile.point(place.point)
    except KeyError as error:
        names = ", ".join(point.name for point in history.profile.points)
        raise MeasureError(
            f"The device {place.device!r} has no point {place.point!r}.",
            f"It has: {names}.",
            code="missing_point",
        ) from error
    if point.counter:
        return counted(history, point)
    if place is not project.energy and unit_of(point.name) == "K" and history.interval_us is None:
        return averaged(history, point)
    raise MeasureError(
        f"{place.device}/{place.point} is not a counter.",
        "Name a counter, or as a driver a temperature: what any other gauge showed between two "
        "readings is not known.",
        code="not_a_counter",
    )


def _check_together(project: Project, counters: Sequence[Counted]) -> None:
    if counters[0].unit != "Wh":
        raise MeasureError(
            f"{project.energy.point!r} counts {counters[0].unit}, not energy.",
            "Name a counter of the meter whose name ends in _wh.",
            code="not_energy",
        )
    meter = counters[0].history
    if meter.interval_us is not None and project.energy.point != ENERGY:
        raise MeasureError(
            f"The raw records of {meter.device!r} stay at the gateway, and its envelopes sum "
            f"{ENERGY!r}, not {project.energy.point!r}.",
            f"Measure {ENERGY!r}, whose every step the agent's own sums bear out; or have the "
            "gateway send full evidence of this device.",
            code="not_in_envelope",
        )
    clocks = {counter.history.device: counter.history.clock for counter in counters}
    if len(set(clocks.values())) > 1:
        told = ", ".join(f"{device}: {clock}" for device, clock in sorted(clocks.items()))
        raise MeasureError(
            f"Simulated and real evidence do not mix ({told}).",
            "Measure devices of one clock.",
            code="mixed_clocks",
        )
    for driver, counter in zip(project.drivers, counters[1:], strict=True):
        if counter.history.synthetic and not driver.synthetic:
            raise MeasureError(
                f"No machine stands behind {driver.device!r}: its profile says synthetic.",
                f"Write 'synthetic: true' at the driver {driver.name!r}.",
                code="synthetic_not_declared",
            )
