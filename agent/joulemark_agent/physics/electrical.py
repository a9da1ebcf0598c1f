"""Electric power from what meters tell: ratios of transformers, the power triangle, checks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.physics.domain import OutOfDomain, within

SPARE_RATIO = 1.05  # how far power may exceed sqrt(3) V I before the scaling is called wrong
LEAST_UNCERTAINTY_RATIO = 0.03  # of power from volts, amperes and an assumed power factor

_MOST = 1e15
_LEAST = 1e-9


def primary_power_w(
    raw: float, exponent: int, ct_ratio: float, vt_ratio: float, *, ratio_applied: bool
) -> float:
    """The power in the primary circuit of a meter behind transformers.

    Args:
        raw: the register's number. [W times 10^-exponent]
        exponent: decimal scale of the register, -10 to 10. [1]
        ct_ratio: primary over secondary current, above 0. [1]
        vt_ratio: primary over secondary voltage, above 0. [1]
        ratio_applied: whether the meter has multiplied by the ratios itself.

    Returns:
        power. [W]

    Formula: M1.
    Source: sunspec/models at 7abdf898, json/model_203.json (scale factors), 2025; a transformer's
        ratio by its definition.
    """
    within("exponent", exponent, -10, 10, "1")
    factor = primary_factor(ct_ratio, vt_ratio, ratio_applied=ratio_applied)
    return within("raw", raw, -_MOST, _MOST, "") * 10.0**exponent * factor


def primary_factor(ct_ratio: float, vt_ratio: float, *, ratio_applied: bool) -> float:
    """What a meter's power or energy is multiplied by to stand for the primary circuit.

    Args:
        ct_ratio: primary over secondary current, above 0. [1]
        vt_ratio: primary over secondary voltage, above 0. [1]
        ratio_applied: whether the meter has multiplied by the ratios itself; then it is 1.

    Formula: M1.
    Source: a transformer's ratio by its definition.
    """
    within("ct_ratio", ct_ratio, _LEAST, 1e6, "1")
    within("vt_ratio", vt_ratio, _LEAST, 1e6, "1")
    return 1.0 if ratio_applied else ct_ratio * vt_ratio


def most_power_w(line_voltage_v: float, current_a: float, phases: int = 3) -> float:
    """The largest active power that a voltage and a current can carry, with a twentieth to spare.

    Args:
        line_voltage_v: between two lines, or to neutral with one phase, at least 0. [V]
        current_a: in each line, at least 0. [A]
        phases: 1 or 3.

    Returns:
        power, 1.05 sqrt(3) V I with three phases. [W]

    Formula: M1.
    Source: active power never exceeds apparent power; the twentieth is for both meters' errors.
    """
    return SPARE_RATIO * apparent_power_va(line_voltage_v, current_a, phases)


def possible_power_w(
    power_w: float, line_voltage_v: float, current_a: float, phases: int = 3
) -> float:
    """The power, where the voltage and the current can carry it; else a ratio or scale is wrong.

    Args:
        power_w: active power, either sign. [W]
        line_voltage_v: between two lines, or to neutral with one phase, at least 0. [V]
        current_a: in each line, at least 0. [A]
        phases: 1 or 3.

    Raises:
        OutOfDomain: it exceeds 1.05 sqrt(3) V I.

    Formula: M1.
    Source: as `most_power_w`.
    """
    most_w = most_power_w(line_voltage_v, current_a, phases)
    if not abs(power_w) <= most_w:
        raise OutOfDomain(
            f"{power_w:g} W is more than {line_voltage_v:g} V and {current_a:g} A can carry"
            f" ({most_w:g} W); check the transformer ratios and whether the meter applies them."
        )
    return power_w


def is_possible_power(
    power_w: ArrayLike, line_voltage_v: ArrayLike, current_a: ArrayLike, phases: int = 3
) -> NDArray[np.bool_]:
    """Which samples of power the voltage and the current can carry; true where one is NaN.

    Args:
        power_w: active power, either sign, shape (n,). [W]
        line_voltage_v: between two lines, or to neutral with one phase, shape (n,). [V]
        current_a: in each line, shape (n,). [A]
        phases: 1 or 3.

    Formula: M1.
    Source: as `most_power_w`.
    """
    carried = _phase_factor(phases) * np.abs(np.asarray(line_voltage_v) * np.asarray(current_a))
    impossible: NDArray[np.bool_] = np.abs(np.asarray(power_w)) > SPARE_RATIO * carried
    return ~impossible


def apparent_power_va(line_voltage_v: float, current_a: float, phases: int = 3) -> float:
    """The apparent power of a balanced load.

    Args:
        line_voltage_v: between two lines, or to neutral with one phase, at least 0. [V]
        current_a: in each line, at least 0. [A]
        phases: 1 or 3.

    Returns:
        sqrt(3) V I with three phases, V I with one. [VA]

    Formula: M2.
    Source: definition of apparent power in a balanced system.
    """
    within("line_voltage_v", line_voltage_v, 0.0, _MOST, "V")
    within("current_a", current_a, 0.0, _MOST, "A")
    return _phase_factor(phases) * line_voltage_v * current_a


def power_from_current_w(
    line_voltage_v: float, current_a: float, power_factor: float, phases: int = 3
) -> float:
    """The active power told by volts, amperes and a power factor, where no power is measured.

    Args:
        line_voltage_v: between two lines, or to neutral with one phase, at least 0. [V]
        current_a: in each line, at least 0. [A]
        power_factor: 0 to 1. [1]
        phases: 1 or 3.

    Returns:
        power. [W]

    Formula: M2.
    Error: at least 3 % (`LEAST_UNCERTAINTY_RATIO`): the power factor is rarely that of the moment
        and phases are rarely balanced.
    Source: ORNL-AMO/AMO-Tools-Suite at 15208321, src/calculator/util/Compressors.cpp, 2024-10-11,
        which writes sqrt(3) as 1.732.
    """
    within("power_factor", power_factor, 0.0, 1.0, "1")
    return apparent_power_va(line_voltage_v, current_a, phases) * power_factor


def reactive_power_var(apparent_va: float, active_w: float) -> float:
    """The reactive power of sinusoidal quantities, without its sign.

    Args:
        apparent_va: at least the active power. [VA]
        active_w: 0 or above. [W]

    Returns:
        reactive power. [var]

    Formula: M3.
    Source: ORNL-AMO/AMO-Tools-Suite at 15208321, tests/cpp/PowerFactor.unit.cpp, 2024-10-11.
    """
    within("apparent_va", apparent_va, 0.0, _MOST, "VA")
    within("active_w", active_w, 0.0, apparent_va, "W")
    return math.sqrt((apparent_va - active_w) * (apparent_va + active_w))


def power_factor(apparent_va: float, active_w: float) -> float:
    """Active over apparent power.

    Args:
        apparent_va: above 0, at least the active power. [VA]
        active_w: 0 or above. [W]

    Returns:
        0 to 1. [1]

    Formula: M3.
    Source: definition of the power factor.
    """
    within("apparent_va", apparent_va, _LEAST, _MOST, "VA")
    return within("active_w", active_w, 0.0, apparent_va, "W") / apparent_va


@dataclass(frozen=True)
class Compensation:
    """What a power factor correction changes, with the active power left as it is."""

    reactive_var: float  # before
    apparent_after_va: float
    reactive_after_var: float
    capacitor_var: float
    apparent_saved_va: float


def compensation(apparent_va: float, active_w: float, target_power_factor: float) -> Compensation:
    """What lifts the power factor to a target: the capacitor, and what it saves.

    Args:
        apparent_va: above 0, at least the active power. [VA]
        active_w: above 0. [W]
        target_power_factor: above 0, up to 1. Below today's it gives a negative capacitor: an
            inductor. [1]

    Formula: M3.
    Source: ORNL-AMO/AMO-Tools-Suite at 15208321, tests/cpp/PowerFactor.unit.cpp, 2024-10-11.
    """
    within("active_w", active_w, _LEAST, _MOST, "W")
    within("target_power_factor", target_power_factor, 1e-3, 1.0, "1")
    before_var = reactive_power_var(apparent_va, active_w)
    after_va = active_w / target_power_factor
    after_var = reactive_power_var(max(after_va, active_w), active_w)
    return Compensation(
        before_var, after_va, after_var, before_var - after_var, apparent_va - after_va
    )


def _phase_factor(phases: int) -> float:
    if phases not in {1, 3}:
        raise OutOfDomain(f"phases is {phases}; it must be 1 or 3.")
    return math.sqrt(3.0) if phases == 3 else 1.0
