"""Sums that other programs make of power and registers: the controls that must fail.

Read in emoncms (Modules/process/process_processlist.php: `power_to_kwh`, `kwh_accumulator`) and in
OpenEMS (`CalculateEnergyFromPower`); written anew.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.kernels.stream import Times, Values

HOUR_US = 3_600_000_000
_CAP_W = 60_000.0
_LONGEST_US = 7200 * 1_000_000


def right_rectangles_wh(t_us: Times, power_w: Values) -> float:
    """Each value for the whole time before it, if that is below two hours; signs net out. [Wh]"""
    step_us = np.diff(t_us)
    held = np.where(step_us < _LONGEST_US, step_us, 0)
    return float(np.sum(power_w[1:] * held) / HOUR_US)


def left_rectangles_wh(t_us: Times, power_w: Values) -> float:
    """Each value in whole watts for as long as none follows, whatever happened meanwhile. [Wh]"""
    return float(np.sum(np.trunc(power_w[:-1]) * np.diff(t_us)) / HOUR_US)


def accumulated_wh(t_us: Times, register_wh: Values) -> float:
    """Rises of a register, unless their mean power is 60 kW or more. [Wh]"""
    rise = np.diff(register_wh)
    mean_w = rise * HOUR_US / np.diff(t_us)
    return float(rise[(rise > 0) & (mean_w < _CAP_W)].sum())
