"""Every kernel called once with next to nothing, so that none is compiled when a value is due."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np

from joulemark_agent.contract.profile import Profile
from joulemark_agent.kernels.carbon import co2e
from joulemark_agent.kernels.chain import Device, begun_chain, chain_of, step_chain
from joulemark_agent.kernels.clean import all_zero_steps
from joulemark_agent.kernels.counter import Semantics, follow
from joulemark_agent.kernels.demand import LEAST_RATIO, sliding_demand, sliding_peak
from joulemark_agent.kernels.energy import counter_energy, left_hold, power_energy
from joulemark_agent.kernels.jit import Standing, standing
from joulemark_agent.kernels.reconcile import weighted_mean
from joulemark_agent.kernels.stream import HOLD, Rule, begun, rules_of, step_many
from joulemark_agent.kernels.stuck import stuck


def warm_up(profile: Profile) -> Standing:
    """Compile every kernel of the agent, or load it from the cache, and tell how they stand.

    Args:
        profile: any one of Modbus or SunSpec; it is what decoding needs to have something to do.
    """
    t_us, flags = np.arange(3, dtype=np.int64), np.ones(3, np.bool_)
    values = np.ones(3)
    follow(Semantics(1), t_us, t_us, flags, flags, ZoneInfo("UTC"))
    for step_ok in (flags[1:], t_us[1:]):
        counter_energy(t_us, t_us, flags, step_ok, t_us, 1)
    power_energy(t_us, values, t_us, 1)
    left_hold(t_us, values, t_us, 1)
    for energy_wh in (t_us, values):
        co2e(energy_wh, 0.0, 0.0)
    all_zero_steps(t_us[None], values[None])
    stuck(t_us, values, 1, 1, 0.0, 0.0)
    chain = chain_of([Device(profile, (), 1)], 1, ZoneInfo("UTC"))
    nothing = np.zeros((3, 0), np.uint8), flags[:, None], flags
    step_chain(chain, begun_chain(chain), t_us, *nothing)
    q = np.zeros((3, 1), np.uint8)
    step_many(rules_of([Rule(HOLD, 1, 1)]), begun(1), t_us, values[:, None], q, flags)
    sliding_peak(sliding_demand(values, values, 1, 1, LEAST_RATIO), 1)
    weighted_mean(values, values)
    found, own = standing(), f"{__name__.partition('.')[0]}."
    return found._replace(waiting=tuple(name for name in found.waiting if name.startswith(own)))
