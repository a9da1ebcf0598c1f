"""Energy of fab utilities: equivalent energy of a tool, idle mode of pumps, use per tool-hour."""

from __future__ import annotations

from collections.abc import Mapping

from joulemark_agent.physics.domain import OutOfDomain, within

S_PER_H = 3600.0

_MOST = 1e15


def equivalent_energy_wh(
    used: Mapping[str, float], wh_per_unit: Mapping[str, float]
) -> dict[str, float]:
    """The energy that stands behind each utility a tool used; their sum is the equivalent energy.

    Args:
        used: by utility (electricity, nitrogen, exhaust ...), 0 or above. [its unit]
        wh_per_unit: conversion factor of each of them, 0 or above; there is no default, not even
            for electricity. [Wh per that unit]

    Returns:
        energy by utility. [Wh]

    Raises:
        OutOfDomain: a utility has no factor.

    Formula: S3.
    Source: structure of SEMI S23, utilities times energy conversion factors (not read in the
        standard); the factors are the user's.
    """
    if missing := sorted(set(used) - set(wh_per_unit)):
        raise OutOfDomain(
            f"There is no conversion factor for {', '.join(missing)}; give the watt-hours per unit"
            " that your plant spends on it, or those of the standard that you report by."
        )
    return {
        name: within(f"{name} used", amount, 0.0, _MOST, "")
        * within(f"the factor of {name}", wh_per_unit[name], 0.0, 1e12, "Wh")
        for name, amount in used.items()
    }


def idle_saving_wh(process_w: float, idle_w: float, idle_s: float) -> float:
    """What a pump saves in idle mode against running on in process mode for that time.

    Args:
        process_w: power while it pumps for a process, 0 or above. [W]
        idle_w: power in idle mode, 0 up to the process power. [W]
        idle_s: time in idle mode, or in which it could have been, 0 or above. [s]

    Returns:
        (P_process - P_idle) t. [Wh]

    Formula: S5.
    Source: energy balance of the two modes.
    """
    within("process_w", process_w, 0.0, _MOST, "W")
    within("idle_w", idle_w, 0.0, process_w, "W")
    return (process_w - idle_w) * within("idle_s", idle_s, 0.0, _MOST, "s") / S_PER_H


def per_tool_hour(used: float, tool_s: float) -> float:
    """What is used per hour in which one tool was served.

    Args:
        used: energy, fuel or water, 0 or above, over the same time as the tools. [any unit]
        tool_s: time of each tool served, added up, above 0. [s]

    Returns:
        use per tool-hour. [that unit]

    Formula: S6.
    Source: ratio of the two sums.
    """
    within("tool_s", tool_s, 1e-9, _MOST, "s")
    return within("used", used, 0.0, _MOST, "") * S_PER_H / tool_s
