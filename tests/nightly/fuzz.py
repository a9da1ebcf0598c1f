"""Any bytes before every decoder: an answer or a refusal, in time and in little memory.

Each target gets JOULEMARK_FUZZ_SECONDS (120) of its own, or 10 million executions if they come
first; with every change the targets of one file share 8 seconds. The table says how many each had,
at which rate, and how long 10 million take. Where atheris is installed the targets are run once
more, led by coverage. Decoders without checks fail the same harness.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from support.fuzz.guided import absent, guided
from support.fuzz.harness import LIMIT_MB, LIMIT_S, Outcome
from support.fuzz.run import MODULES, fuzzed, targets

EXECUTIONS = 10_000_000
SECONDS = float(os.environ.get("JOULEMARK_FUZZ_SECONDS", "120"))
SHARED_S = 8.0
QUICK_CONTROL = "planted.stock_yaml"
CONTROLS = ("planted.stock_variant", QUICK_CONTROL, "planted.stock_json")


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Figures by target; AssertionError with the input that broke one."""
    if not full:
        return {name: told for module in MODULES for name, told in shared(module, seed).items()}
    figures = _driven(MODULES, seed, SECONDS)
    return figures | {f"control {name}": control(name, seed) for name in CONTROLS} | _led(seed)


def shared(module: str, seed: int) -> dict[str, str]:
    """Some seconds, shared by the targets of one file; all of them stand under its name."""
    figures = _driven([module], seed, SHARED_S / len(targets([module])))
    return figures | {module: figures.pop("all")}


def _driven(modules: Sequence[str], seed: int, seconds: float) -> dict[str, str]:
    """So many seconds of each target."""
    figures: dict[str, str] = {}
    executions = 0
    for outcome in fuzzed(modules, seed=seed, seconds=seconds, executions=EXECUTIONS, nice=10):
        outcome.check()
        executions += outcome.executions
        figures[outcome.target] = _told(outcome)
    told = f"{executions:,} executions of {len(figures)} decoders, {seconds:.3g} s each, 0 failures"
    return figures | {"all": told}


def _told(outcome: Outcome) -> str:
    hours = EXECUTIONS / outcome.rate / 3600
    return (
        f"{outcome.executions:,} at {outcome.rate:,.0f}/s (10 million: {hours:.1f} h),"
        f" {outcome.refused / outcome.executions:.0%} refused,"
        f" slowest {outcome.slowest_ms:.1f} ms, {outcome.growth_mb:.1f} MB more"
    )


def control(name: str, seed: int) -> str:
    """What one input does to a decoder without checks; it must fail."""
    [outcome] = fuzzed([name], seed=seed, seconds=60.0, executions=1)
    assert outcome.failures or outcome.growth_mb > LIMIT_MB, f"{name}: the control must fail"
    assert outcome.slowest_ms > LIMIT_S * 1000 or outcome.growth_mb > LIMIT_MB, outcome
    return f"{outcome.slowest_ms / 1000:.1f} s and {outcome.growth_mb:.0f} MB for one input: fails"


def _led(seed: int) -> dict[str, str]:
    """The same targets under atheris, where it is there."""
    if why := absent():
        return {"led by coverage": f"not run: {why}"}
    found = {}
    for module in MODULES:
        for target in targets([module]):
            name = f"{module}.{target.name}"
            outcome = guided(name, seed=seed, seconds=SECONDS / 4)
            found[f"{target.name}, led by coverage"] = (
                f"{outcome.executions:,} at {outcome.rate:,.0f}/s, 0 failures"
            )
    return found
