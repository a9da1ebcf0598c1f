"""A day of machines that are right: the checks say nothing of them.

SYNTHETIC: every shipped profile with the values of a machine that starts, idles, works and stops,
of an inverter from night to night under clouds, of meters that are off by what their class allows,
with noise, coarse registers, counters that are written now and then and wrap, points read one after
the other, gaps, and a power factor near 0. Read every 5 s and every 60 s for 24 hours.
"""

import math
from collections import Counter
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

import joulemark_profiles
from joulemark_agent.contract.profile import AnyPoint, Point, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.documents import load_profile
from joulemark_agent.plausibility import Change, Watch

DAY_S, SHORT_S = 86_400, 3_600
PERIODS_S = (5, 60)
NIGHTS = ("zeros", "sentinels", "silence")  # what an inverter shows without sun
US = 1_000_000
Series = NDArray[np.float64]


class Day:
    """One machine through a day: true values second by second, and how it shows them."""

    def __init__(self, profile: Profile, seed: int, span_s: int) -> None:
        self.profile, self.span_s = profile, span_s
        self.draw = np.random.default_rng([seed, *profile.model.encode()])
        self.is_solar = profile.kind == "pv_inverter"
        feeds = any(point.name == "exported_wh" for point in profile.points)
        self.dc_volts = 612.0 + self._slow(40.0)
        self.volts = [230.0 + self._slow(3.0) for _ in range(3)]
        self.factor, parts = self._solar() if self.is_solar else self._load(feeds=feeds)
        self.phase_w = [parts * share for share in self._shares()]
        self.total_w: Series = np.sum(self.phase_w, axis=0)
        self.night = self.total_w < 40.0
        self.shows_night = str(self.draw.choice(NIGHTS))
        self.delay_s = {p.name: int(self.draw.integers(0, 2)) for p in profile.points}
        self.is_late = self.draw.random(span_s) < 0.3  # something changed while it was read
        self.gain = {p.name: 1 + float(self.draw.normal(0, 0.003)) for p in profile.points}
        self.shown = {
            p.name: self._texts(p) for p in profile.points if not p.name.endswith("_text")
        }

    def sample(self, t_s: int) -> tuple[dict[str, str], dict[str, str]] | None:
        """Values and quality at a time; None: the machine does not answer."""
        if self.draw.random() < 0.002:
            return None
        is_dark = self.is_solar and bool(self.night[t_s])
        if is_dark and self.shows_night == "silence":
            return None
        values: dict[str, str] = {}
        quality: dict[str, str] = {}
        for point in self.profile.points:
            if point.name not in self.shown:
                continue
            if is_dark and self.shows_night == "sentinels" and not point.counter:
                quality[point.name] = "sentinel"
                continue
            values[point.name] = self.shown[point.name][t_s]
        return values, quality

    def _slow(self, size: float) -> Series:
        walk = np.cumsum(self.draw.normal(0, 1, self.span_s // 60 + 2))
        walk = walk - np.linspace(0, walk[-1], walk.size)
        walk = walk / max(1.0, float(np.abs(walk).max())) * size
        return np.interp(np.arange(self.span_s), np.arange(walk.size) * 60.0, walk)

    def _shares(self) -> list[Series]:
        """How the load lies on the phases: evenly, skewed, or on one of them."""
        if not any("_l2" in point.name for point in self.profile.points):
            return [np.ones(self.span_s), np.zeros(self.span_s), np.zeros(self.span_s)]
        shares = np.zeros((3, self.span_s))
        start = 0
        while start < self.span_s:
            end = start + int(self.draw.integers(600, 7200))
            kind = self.draw.random()
            split = [1 / 3] * 3 if self.is_solar else list(self.draw.dirichlet([8, 8, 8]))
            if kind < 0.1 and not self.is_solar:
                split = [1.0, 0.0, 0.0]
            for k in range(3):
                shares[k, start:end] = split[k]
            start = end
        return list(shares)

    def _load(self, *, feeds: bool) -> tuple[Series, Series]:
        """Power factor and power: stands, waits, idles, works, jumps, and feeds back."""
        watts, factor = np.zeros(self.span_s), np.ones(self.span_s)
        start = 0
        peak = {"air_compressor": 37_000.0, "furnace": 60_000.0}.get(self.profile.kind, 21_000.0)
        while start < self.span_s:
            kind = self.draw.choice(["off", "standby", "idle", "small", "work", "pulse", "feed"],
                                    p=[0.15, 0.1, 0.15, 0.1, 0.3, 0.15, 0.05])  # fmt: skip
            end = min(self.span_s, start + int(self.draw.integers(20, 3600)))
            n = end - start
            ripple = 1 + self.draw.normal(0, 0.01, n) + 0.05 * np.sin(np.arange(n) / 37.0)
            level, angle = {
                "off": (0.0, 1.0),
                "standby": (float(self.draw.uniform(1, 15)), float(self.draw.uniform(0.3, 0.7))),
                "idle": (0.05 * peak, float(self.draw.uniform(0.12, 0.3))),
                "small": (float(self.draw.uniform(20, 400)), float(self.draw.uniform(0.3, 1.0))),
                "work": (peak * float(self.draw.uniform(0.3, 1.0)), 0.88),
                "pulse": (peak, 0.9),
                "feed": (-0.3 * peak if feeds else 0.2 * peak, 0.97),
            }[str(kind)]
            duty: Series = np.ones(n)
            if kind == "pulse":  # a regulated heater: on and off within seconds
                duty = self._pulses(n)
            watts[start:end] = level * ripple * duty
            factor[start:end] = angle
            start = end
        return factor, watts

    def _pulses(self, n: int) -> Series:
        """On and off, no two cycles alike: one in step with the reader would deceive it."""
        mean_s = float(self.draw.uniform(3, 90))
        spans = np.tile([0.4, 0.6], n) * self.draw.uniform(0.4, 1.6, 2 * n) * mean_s
        return np.where(np.searchsorted(np.cumsum(spans), np.arange(n)) % 2, 0.05, 1.0)

    def _solar(self) -> tuple[Series, Series]:
        hours = (np.arange(self.span_s) / max(self.span_s, DAY_S // 4) * 24.0) % 24.0
        sun = np.clip(np.sin((hours - 6.0) / 13.0 * math.pi), 0, None) ** 1.3
        edges_s = np.arange(0, self.span_s, 20)
        clouds = self.draw.uniform(0.15, 1.0, edges_s.size)
        clouds = np.interp(np.arange(self.span_s), edges_s, clouds)
        return np.ones(self.span_s), 18_000.0 * sun * clouds

    def _texts(self, point: AnyPoint) -> list[str]:
        """What the machine shows of the point, second by second."""
        name = point.name
        true = self._true(point)
        if not point.counter and unit_of(name) not in {"Wh", "s", "m3"}:
            error = self.draw.normal(0, 0.002, self.span_s)
            later = np.append(true[1:], true[-1])
            true = np.where(self.is_late & bool(self.delay_s[name]), later, true)
            true = true * (self.gain[name] + error)
        step, kind = _step(point), getattr(point, "type", "")
        if getattr(point, "type", "").startswith(("uint", "bcd", "acc")):
            true = np.maximum(true, 0.0)
        if point.counter:
            every = int(self.draw.choice([1, 1, 10, 30]))
            true = true[np.arange(self.span_s) // every * every]
        if kind.startswith("float") or step is None:
            shown = true.astype(np.float32) if kind == "float32" else true
            return [_plain(str(value)) for value in shown]
        raw = np.floor(true / float(step) + (0.0 if point.counter else 0.5)).astype(np.int64)
        if point.modulus is not None:
            raw = raw % point.modulus
        texts: dict[int, str] = {}
        return [texts.get(n) or texts.setdefault(n, _plain(str(step * n))) for n in raw.tolist()]

    def _true(self, point: AnyPoint) -> Series:
        name, unit = point.name, unit_of(point.name) or ""
        phase = next((i for i in range(3) if f"_l{i + 1}_" in name and "l1_l2" not in name), None)
        watts = self.total_w if phase is None else self.phase_w[phase]
        flat = np.ones(self.span_s)
        if "l1_l2" in name or "l2_l3" in name or "l3_l1" in name:
            return self.volts[0] * math.sqrt(3)
        if unit == "W":
            if "dc_" in name or "string" in name:
                return self._dc_w()
            turned = point.direction == "export" and not self.is_solar
            return -watts if turned else watts
        if unit in {"Wh", "varh"}:
            return self._counted(point, phase)
        apparent = self._apparent(phase)
        if unit == "VA":
            return apparent
        if unit == "var":
            return np.sqrt(np.maximum(0.0, apparent**2 - watts**2))
        if unit == "A":
            if "dc_" in name or "string" in name:
                return self._dc_w() / np.maximum(self._dc_v(), 1.0)
            if "mean" in name or "average" in name:
                return apparent / sum(self.volts)
            if phase is None and any(p.name.startswith("voltage_l2") for p in self.profile.points):
                return apparent / (sum(self.volts) / 3)
            return apparent / self.volts[phase or 0]
        if unit == "V":
            if "dc_" in name or "string" in name:
                return self._dc_v()
            return self.volts[phase or 0] * (24 / 230 if "supply" in name else 1.0)
        if name.endswith("factor_ratio") or "power_factor" in name:
            return 0.99 * watts / np.maximum(apparent, 1.0)
        return self._other(name, unit, flat)

    def _other(self, name: str, unit: str, flat: Series) -> Series:
        load = np.clip(self.total_w / 37_000.0, 0, 1)
        seconds = np.cumsum(self.total_w > 300.0)
        if unit == "s":
            if "due" in name or "last_100" in name:
                return flat * 180_000.0
            return np.asarray(seconds + 31e6 * (0.7 if "loaded" in name else 1.0), np.float64)
        found: Series = {
            "Hz": 50.0 + self._slow(0.05),
            "K": (900.0 if self.profile.kind == "furnace" else 310.0) + 40 * load + self._slow(5.0),
            "Pa": 650_000.0 * flat * (self.total_w.max() > 0) + self._slow(50_000.0),
            "m3": 960_000.0 + np.cumsum(load) * 0.1,
            "dm3": 960_000.0 + np.cumsum(load) * 100,
            "kg": 1000.0 + np.cumsum(load),
            "m3/s": 0.1 * load,
            "1": 0.9 * load if name.endswith("_ratio") else flat * 2.0,
        }.get(unit, flat)
        return found

    def _apparent(self, phase: int | None) -> Series:
        if phase is None:
            return np.asarray(np.sum([self._apparent(i) for i in range(3)], axis=0), np.float64)
        found: Series = np.abs(self.phase_w[phase]) / self.factor
        return found

    def _dc_v(self) -> Series:
        return np.where(self.night, 30.0, self.dc_volts)

    def _dc_w(self) -> Series:
        return np.where(self.night, 0.0, self.total_w / 0.975 + 35.0)

    def _counted(self, point: AnyPoint, phase: int | None) -> Series:
        name, watts = point.name, self.total_w if phase is None else self.phase_w[phase]
        if unit_of(name) == "varh":
            watts = watts * 0.4
        if name.startswith(("exported", "absorbed", "reactive_exported", "reactive_leading")):
            flow = np.maximum(-watts, 0.0)
        elif name.startswith("imported_and_exported"):
            flow = np.abs(watts)
        else:
            flow = np.maximum(watts, 0.0)
        if self.is_solar and name in {"imported_wh", "exported_wh"}:
            flow = np.zeros(self.span_s)
        counted: Series = np.cumsum(flow) / 3600.0 * (1 + float(self.draw.normal(0, 0.004)))
        if "today" in name:
            counted += 31_000.0 * (counted == 0)  # of yesterday, until it begins anew
        elif point.modulus is not None:
            counted += float(point.modulus * (_step(point) or 1)) - counted[-1] / 2
        else:
            counted += 120_000_000.0
        return counted


def _step(point: AnyPoint) -> Decimal | None:
    """By which a value of the point jumps; None: it does not."""
    kind = getattr(point, "type", "")
    if kind.startswith("float"):
        return None
    if point.quantum is not None and kind == "":
        return point.quantum
    usual = {"W": "1", "V": "0.1", "A": "0.01", "Hz": "0.01", "1": "0.001", "K": "0.1"}
    if isinstance(point, Point) and point.scale_register is None:
        return abs(point.scale)
    return Decimal(usual.get(unit_of(point.name) or "", "1"))


def _plain(text: str) -> str:
    return format(Decimal(text), "f")


def findings(profile: Profile, seed: int, every_s: int, span_s: int) -> list[Change]:
    """Every finding that begins on a machine of the profile in the time."""
    watch, day = Watch({"it": profile}), Day(profile, seed, span_s)
    begun: list[Change] = []
    for t_s in range(0, span_s, every_s):
        late_us = int(day.draw.integers(0, 40_000))  # a line answers now sooner, now later
        if (sample := day.sample(t_s)) is not None:
            begun += [
                c for c in watch.take("it", t_s * US + late_us, *sample) if c.begins
            ]  # fmt: skip
    return begun


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Every shipped profile; `full=False` two of them, for an hour."""
    names = joulemark_profiles.names("devices") if full else FEW
    span_s = DAY_S if full else SHORT_S
    figures, alarms = {}, Counter[str]()
    for every_s in PERIODS_S:
        before = alarms.total()
        for name in names:
            for change in findings(load_profile(name)[0], seed, every_s, span_s):
                alarms[
                    f"{name} every {every_s} s {change.verdict.name}: {change.verdict.found}"
                ] += 1
        figures[
            f"false alarms of {len(names)} machines in {span_s / 3600:g} h, every {every_s} s"
        ] = str(alarms.total() - before)
    assert not alarms, "\n".join(f"{n} x {what}" for what, n in alarms.most_common())
    return figures


FEW = ("eastron_sdm120", "sungrow_sg")
