"""A SYNTHETIC compressor that loads and unloads between two pressures, as a function of time."""

from __future__ import annotations

import random
from dataclasses import dataclass

LOADED_S, UNLOADED_S = 90, 60
LOW_PA, HIGH_PA = 650_000, 720_000
LOADED_W, UNLOADED_W = 55_000, 16_000
LABEL = {"pressure": 1, "outlet": 2, "ambient": 3}  # numbers in the controller's table of texts


@dataclass(frozen=True)
class State:
    """What the controller shows at one instant."""

    running_s: int
    loaded_s: int
    load_count: int
    pressure_pa: int  # gauge
    outlet_dk: int  # outlet of the element [0.1 K above 0 degrees Celsius]
    ambient_dk: int
    energy_wh: int
    is_loaded: bool


class Compressor:
    """A machine that has been running since before the simulation."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self._running_s = chance.randrange(10_000_000, 50_000_000)
        self._cycles = self._running_s // (LOADED_S + UNLOADED_S)
        self._warm_dk = chance.randrange(20)

    def at(self, t_s: float) -> State:
        """Its state.

        Args:
            t_s: since the simulation began. [s]
        """
        cycles, rest_s = divmod(int(t_s), LOADED_S + UNLOADED_S)
        loaded_s = cycles * LOADED_S + min(rest_s, LOADED_S)
        is_loaded = rest_s < LOADED_S
        rise = HIGH_PA - LOW_PA
        share = rest_s / LOADED_S if is_loaded else 1 - (rest_s - LOADED_S) / UNLOADED_S
        counted_s = self._cycles * LOADED_S + loaded_s
        unloaded_s = self._running_s + int(t_s) - counted_s
        return State(
            running_s=self._running_s + int(t_s),
            loaded_s=counted_s,
            load_count=self._cycles + cycles + 1,
            pressure_pa=LOW_PA + int(rise * share) // 100 * 100,
            outlet_dk=780 + self._warm_dk + int(60 * share),
            ambient_dk=210 + self._warm_dk,
            energy_wh=(counted_s * LOADED_W + unloaded_s * UNLOADED_W) // 3600,
            is_loaded=is_loaded,
        )
