"""Leaks from cycles: a storage with a known leak, read at any pace; right or not resolved."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

import numpy as np

from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.compressor_cycles import Share, demand_share, storage_figure
from joulemark_agent.equipment.compressor_states import Driver, States, states_of

ATMOSPHERE_PA = 101_325.0
LOW_PA, HIGH_PA = 6e5, 7e5
LOADED_W, UNLOADED_W = 75_000.0, 22_000.0


@dataclass(frozen=True)
class Network:
    """A machine that fills a storage from which a leak draws."""

    leak_ratio: float  # of the capacity
    capacity_m3_s: float = 10 / 60
    storage_m3: float = 2.0

    @property
    def slope_pa_s(self) -> float:
        """The rise of the pressure by the whole capacity. [Pa/s]"""
        return self.capacity_m3_s * ATMOSPHERE_PA / self.storage_m3

    @property
    def loaded_s(self) -> float:
        """The length of a load. [s]"""
        return (HIGH_PA - LOW_PA) / self.slope_pa_s / (1 - self.leak_ratio)

    @property
    def cycle_s(self) -> float:
        """The length of a cycle. [s]"""
        return self.loaded_s / self.leak_ratio


def read(
    network: Network,
    poll_s: float,
    hours: float,
    *,
    begin_s: float,
    noise_pa: float,
    seed: int,
    blowdown_s: float = 0.0,
) -> Samples:
    """What a register shows every `poll_s`: power, pressure with noise.

    The power falls at once, or to 60 % of the way and then with `blowdown_s` as time constant.
    """
    t_s = np.arange(floor(hours * 3600 / poll_s) + 1) * poll_s
    phase_s = (t_s + begin_s) % network.cycle_s
    is_loaded = phase_s < network.loaded_s
    rise_pa_s = (HIGH_PA - LOW_PA) / network.loaded_s
    fall_pa_s = (HIGH_PA - LOW_PA) / (network.cycle_s - network.loaded_s)
    falling_pa = HIGH_PA - fall_pa_s * (phase_s - network.loaded_s)
    true_pa = np.where(is_loaded, LOW_PA + rise_pa_s * phase_s, falling_pa)
    noise = np.random.default_rng(seed).normal(0.0, noise_pa, t_s.size)
    left = np.zeros(t_s.size)
    if blowdown_s:
        left = 0.6 * np.exp(-np.maximum(phase_s - network.loaded_s, 0.0) / blowdown_s)
    power_w = UNLOADED_W + (LOADED_W - UNLOADED_W) * np.where(is_loaded, 1.0, left)
    values = {
        "power_w": power_w,
        "pressure_pa": true_pa + noise,
    }
    return Samples(np.rint(t_s * US_PER_S).astype(np.int64), values, int(1.5 * poll_s * US_PER_S))


def read_moving(
    poll_s: float, hours: float, *, seed: int, blowdown_s: float
) -> tuple[Samples, float]:
    """A demand that is another every ten minutes, 5 to 70 % of the capacity; and its mean."""
    chance = np.random.default_rng(seed)
    step_s, rise_pa_s = 0.2, Network(0.5).slope_pa_s
    steps = round(hours * 3600 / step_s)
    per_level = round(600 / step_s)
    demand = np.repeat(chance.uniform(0.05, 0.7, -(-steps // per_level)), per_level)[:steps]
    pressure_pa, way = np.empty(steps), np.empty(steps)
    now_pa, is_loaded, unloaded_s = (LOW_PA + HIGH_PA) / 2, True, 0.0
    for i, drawn in enumerate(demand):
        now_pa += rise_pa_s * (is_loaded - drawn) * step_s
        if is_loaded and now_pa >= HIGH_PA:
            is_loaded, unloaded_s = False, 0.0
        elif not is_loaded and now_pa <= LOW_PA:
            is_loaded = True
        unloaded_s += step_s
        left = 0.6 * np.exp(-unloaded_s / blowdown_s) if blowdown_s else 0.0
        pressure_pa[i], way[i] = now_pa, 1.0 if is_loaded else left
    shown = np.arange(0, steps, round(poll_s / step_s))
    power_w = (UNLOADED_W + (LOADED_W - UNLOADED_W) * way[shown]) * chance.normal(
        1.0, 0.02, shown.size
    )
    noisy_pa = pressure_pa[shown] + chance.normal(0.0, 1000.0, shown.size)
    t_us = np.rint(shown * step_s * US_PER_S).astype(np.int64)
    values = {"power_w": power_w, "pressure_pa": noisy_pa}
    return Samples(t_us, values, int(1.5 * poll_s * US_PER_S)), float(demand.mean())


def states_in(samples: Samples) -> States:
    """The states by power, its levels not declared."""
    return states_of(samples, Driver("power_w", "w", samples.column("power_w")))


def naive_share(samples: Samples) -> float:
    """The control: the share of readings in which the machine is loaded."""
    return float(np.mean(samples.values["power_w"] > (LOADED_W + UNLOADED_W) / 2))


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Leaks of 5 to 50 % at polls of 1 to 30 s, in step and not; some blow down slowly."""
    chance = np.random.default_rng(seed)
    rounds = 40 if full else 2
    worst: dict[float, float] = {}
    resolved: dict[float, int] = {}
    naive: dict[float, float] = {}
    storage = 0.0
    count = 0
    for ratio in (0.05, 0.1, 0.2, 0.35, 0.5):
        for turn in range(rounds):
            count += 1
            network = Network(ratio)
            if turn % 2:  # cycles of whole half minutes keep step with every pace
                network = _in_step(network)
            hours, begin_s = chance.uniform(1, 8), chance.uniform(0, network.cycle_s)
            blowdown_s = float(chance.choice([0.0, 0.0, 5.0, 15.0]))
            for poll_s in (1.0, 5.0, 10.0, 30.0):
                samples = read(
                    network, poll_s, hours, begin_s=begin_s, noise_pa=1000.0,
                    seed=int(chance.integers(1 << 30)), blowdown_s=blowdown_s,
                )  # fmt: skip
                states = states_in(samples)
                off = naive_share(samples) / ratio - 1
                naive[poll_s] = max(naive.get(poll_s, 0.0), abs(off))
                for pressure in (samples.values["pressure_pa"], None):
                    share = demand_share(samples, states, pressure)
                    if isinstance(share, Share):
                        error = abs(share.value / ratio - 1)
                        most = 0.02 if poll_s == 1 else 0.05
                        assert error <= most, (ratio, poll_s, turn, pressure is None, share)
                        worst[poll_s] = max(worst.get(poll_s, 0.0), error)
                    if pressure is not None:
                        resolved[poll_s] = resolved.get(poll_s, 0) + isinstance(share, Share)
                        assert poll_s > 1 or isinstance(share, Share), (ratio, turn, share)
                if poll_s == 1:
                    noisy = read(
                        network, 1.0, hours, begin_s=begin_s, noise_pa=3000.0, seed=seed + turn
                    )
                    figure = storage_figure(
                        noisy, states_in(noisy), noisy.values["pressure_pa"],
                        network.capacity_m3_s, ATMOSPHERE_PA,
                    )  # fmt: skip
                    assert figure.value is not None, figure.why
                    error = abs(figure.value / network.storage_m3 - 1)
                    assert error <= 0.05, (ratio, turn, figure)
                    storage = max(storage, error)
    assert max(naive.values()) > 0.05, "the control must fail"
    moving, told = 0.0, 0
    for turn in range(rounds):
        for poll_s, blowdown_s in ((1.0, 0.0), (1.0, 10.0), (5.0, 0.0), (5.0, 10.0)):
            moved, mean = read_moving(
                poll_s, 8.0 if full else 2.0, seed=seed + turn, blowdown_s=blowdown_s
            )
            share = demand_share(moved, states_in(moved), moved.values["pressure_pa"])
            if isinstance(share, Share):
                told += 1
                moving = max(moving, abs(share.value / mean - 1))
                assert moving <= 0.05, (turn, poll_s, blowdown_s, share)
    figures = {
        f"worst error at {poll_s:.0f} s": f"{100 * worst.get(poll_s, 0):.2f} %,"
        f" resolved {resolved[poll_s]} of {count}; share of readings off by up to"
        f" {100 * naive[poll_s]:.0f} %"
        for poll_s in resolved
    }
    figures["worst error of a demand that moves"] = (
        f"{100 * moving:.2f} %, resolved {told} of {4 * rounds}"
    )
    return {**figures, "worst error of the storage": f"{100 * storage:.2f} %"}


def _in_step(network: Network) -> Network:
    """The same share from a storage whose cycles last a multiple of 30 s."""
    cycle_s = max(30.0, 30.0 * round(network.cycle_s / 30))
    return Network(
        network.leak_ratio, network.capacity_m3_s, network.storage_m3 * cycle_s / network.cycle_s
    )
