"""Compiled and plain kernels give the same bits, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SCRIPT = """
import random
from zoneinfo import ZoneInfo
import numpy as np
from joulemark_agent.kernels.carbon import co2e
from joulemark_agent.kernels.chain import Device, begun_chain, chain_of, step_chain
from joulemark_agent.kernels.clean import all_zero_steps
from joulemark_agent.kernels.counter import Semantics, follow
from joulemark_agent.kernels.demand import sliding_demand, sliding_peak
from joulemark_agent.kernels.energy import counter_energy, power_energy
from joulemark_agent.kernels.reconcile import weighted_mean
from joulemark_agent.kernels.stream import Rule, begun, rules_of, step_many
from joulemark_agent.plan import plan_requests
from joulemark_agent.documents import load_profile

draw = random.Random(1)
n = 3000
t_us = np.cumsum([draw.randint(1, 2_000_000_000) for _ in range(n)])
counter = np.cumsum([draw.choice([0, 0, 7, 10**9, 10**14]) for _ in range(n)])
counter[[500, 501, 900]] = 0
good = np.array([draw.random() > 0.02 for _ in range(n)])
power_w = np.array([draw.random() * 1e6 if draw.random() > 0.01 else np.nan for _ in range(n)])
gauges = np.array([[draw.choice([0.0, 0.0, 0.7, np.nan]) for _ in range(n)]])
edges_us = np.arange(t_us[0] - 10**9, t_us[-1] + 10**9, 900_000_000)
step_ok = all_zero_steps(counter[None], gauges)
print(step_ok.tobytes().hex()[:2000])
counter[1000:1100] -= counter[1000]
ok = np.append(True, step_ok)
for changes in ({}, {"most_per_h": 10**13, "stuck_us": 5 * 10**9}, {"is_daily": 1}):
    rule = Semantics(1_350_000_000, quantum=8, modulus=0 if "is_daily" in changes else 2**60)
    followed = follow(rule._replace(**changes), t_us, counter % 2**60, good, ok)
    for part in (followed.t_us, followed.count, followed.step, followed.index):
        print(part.tolist())
    print(followed.events, followed.state)
for part in counter_energy(t_us, counter, good, step_ok, edges_us, 1_350_000_000):
    print(np.asarray(part).tolist())
for part in power_energy(t_us, power_w, edges_us, 1_350_000_000):
    print([float(value).hex() for value in part])
print(co2e(power_w[np.isfinite(power_w)], 0.4173, 0.05))
rules = rules_of([Rule(kind, 1_350_000_000, 900_000_000, 0, 10**9 * kind) for kind in range(3)])
x = np.repeat(power_w[:, None], 3, axis=1) - 3e5
q = np.array([[draw.choice([0, 0, 0, 0, 1, 2, 3])] * 3 for _ in range(n)], np.uint8)
cut = np.array([draw.random() < 0.01 for _ in range(n)])
t_us[700:] -= 5 * 10**9
state = begun(3)
for start in range(0, n, 700):
    part = slice(start, start + 700)
    rows = step_many(rules, state, t_us[part], x[part], q[part], cut[part])
    print(rows.shape, rows.tobytes().hex())
print(state.tobytes().hex())
hourly = power_w[:500] / 4, np.full(500, 900_000_000.0)
print(sliding_peak(sliding_demand(*hourly, 900_000_000, 4, 0.95), 96).tobytes().hex())
print(weighted_mean(power_w, np.abs(x[:, 0])).hex())
profile = load_profile("eastron_sdm120")[0]
layout = tuple((one.table, one.address, 2 * one.count) for one in plan_requests(profile))
chain = chain_of([Device(profile, layout, 10**9)], 900_000_000, ZoneInfo("UTC"))
data = np.zeros((300, sum(one[2] for one in layout)), np.uint8)
data[:, ::4], data[:, 2::4] = 0x44, np.arange(300)[:, None] % 251
columns = data, np.array([[draw.random() > 0.1] for _ in range(300)]), cut[:300]
closed = step_chain(chain, begun_chain(chain), t_us[:300], *columns)
print(closed.rows.shape, closed.rows.tobytes().hex(), closed.events)
"""


BLOCKED = "import sys; sys.modules['numba'] = None\n"


def printed(disable_jit, first=""):
    path = os.pathsep.join(str(ROOT / part) for part in ("agent", "gateway", "configs"))
    environment = {**os.environ, "NUMBA_DISABLE_JIT": disable_jit, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", first + SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout


def test_compiled_and_plain_kernels_agree_to_the_last_bit_with_numba_and_without():
    compiled = printed("0")
    assert len(compiled) > 100_000
    assert printed("1") == compiled
    assert printed("0", BLOCKED) == compiled
