"""What opendsm says of a meter, and how long it takes to: run by the Python of its environment.

`python -m support.peer_opendsm time KIND CASE` fits once for each line of its input;
`python -m support.peer_opendsm tell` answers an `Asked` for each line of its input.
Nothing of ours is imported but how lines are exchanged. A case is a file of arrays: stamps in UTC,
kWh and F of the units before and after, and the zone in which days are counted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import warnings
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from opendsm import eemeter

from support.peer_wire import serve, tell

BLOCK_H = 14 * 24
FITTED: dict[tuple[str, str, float], Any] = {}


class Asked(TypedDict):
    """A model of a case; the setting that its documentation calls the level of significance."""

    kind: str  # daily, legacy, hourly, caltrack-hourly
    case: str
    significance: float
    blocked: bool  # each two weeks from all others


def main(words: list[str]) -> None:
    """One of the two commands."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if words[0] == "time":
        baseline = prepared(words[1], frame(words[2], "before"), reporting=False)
        serve(lambda: model(words[1], 0.1).fit(baseline, **_always(words[1])))
    else:
        tell({"ready": True})
        for line in sys.stdin:
            tell(answer(json.loads(line)))


def frame(case: str, period: str) -> Any:
    """The units of a period, as the package wants them."""
    with np.load(case) as arrays:
        stamps = pd.to_datetime(arrays[f"{period}_us"], unit="us", utc=True)
        columns = {name: arrays[f"{period}_{name}"] for name in ("kwh", "f")}
        zone = str(arrays["zone"])
    found = pd.DataFrame(columns, index=stamps.tz_convert(zone))
    return found.rename(columns={"kwh": "observed", "f": "temperature"})


def prepared(kind: str, units: Any, *, reporting: bool) -> Any:
    """Units as a model of this kind takes them; electricity, whose zeros are missing."""
    family = {"caltrack-hourly": "HourlyCaltrack", "hourly": "Hourly"}.get(kind, "Daily")
    period = "Reporting" if reporting else "Baseline"
    return getattr(eemeter, f"{family}{period}Data")(units.copy(), is_electricity_data=True)


def model(kind: str, significance: float) -> Any:
    """A model before it is fitted; but for this setting, and a seed, all are the defaults."""
    if kind == "caltrack-hourly":
        made = eemeter.HourlyCaltrackModel()
        made.alpha = significance
        return made
    settings = {"uncertainty_alpha": significance}
    if kind == "hourly":
        return eemeter.HourlyModel(settings={**settings, "seed": 42})
    base = "legacy" if kind == "legacy" else "current"
    return eemeter.DailyModel(model=base, settings=settings)


def answer(asked: Asked) -> dict[str, Any]:
    """What is found, or the error that ends it."""
    try:
        if asked["blocked"]:
            return {"blocked_cv_rmse": blocked_cv_rmse(asked)}
        return saving(asked)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the peer says
        return {"error": f"{type(error).__name__}: {error}"}


def saving(asked: Asked) -> dict[str, Any]:
    """Sums over the units of the second period that have both energies. [kWh]"""
    kind = asked["kind"]
    fitted = fit(kind, frame(asked["case"], "before"), asked["significance"])
    after = prepared(kind, frame(asked["case"], "after"), reporting=True)
    found = fitted.predict(after, **_always(kind))
    both = found[found["observed"].notna() & found["predicted"].notna()]
    error = both["predicted_uncertainty" if kind == "caltrack-hourly" else "predicted_unc"]
    metrics = getattr(fitted, "baseline_metrics", None)
    return {
        "cv_rmse": None if metrics is None else float(metrics.cvrmse_adj),
        "parameters": None if metrics is None else float(metrics.num_model_params),
        "measured": float(both["observed"].sum()),
        "saving": float((both["predicted"] - both["observed"]).sum()),
        "half_width": float(np.sqrt((error**2).sum())),
        "units": len(both),
        "disqualified": [one.qualified_name for one in getattr(fitted, "disqualification", [])],
    }


def fit(kind: str, units: Any, significance: float) -> Any:
    """A fitted model; where only its interval is another, the one that was fitted before."""
    matters = 0.0 if kind == "caltrack-hourly" else significance
    key = (kind, hashlib.sha256(units.to_numpy().tobytes()).hexdigest(), matters)
    if key not in FITTED:
        baseline = prepared(kind, units, reporting=False)
        FITTED[key] = model(kind, significance).fit(baseline, **_always(kind))
    if kind == "caltrack-hourly":
        FITTED[key].alpha = significance
    return FITTED[key]


def blocked_cv_rmse(asked: Asked) -> float:
    """The error, over the mean, of each two weeks predicted from all others."""
    kind, units = asked["kind"], frame(asked["case"], "before")
    block = np.arange(len(units)) // BLOCK_H
    errors = []
    for number in range(block[-1] + 1):
        held, others = units[block == number], units.copy()
        others.loc[block == number, "observed"] = np.nan
        fitted = fit(kind, others, asked["significance"])
        found = fitted.predict(prepared(kind, held, reporting=True), **_always(kind))
        errors.append((held["observed"] - found["predicted"].reindex(held.index)).dropna())
    return float(np.sqrt((pd.concat(errors) ** 2).mean()) / units["observed"].mean())


def _always(kind: str) -> dict[str, bool]:
    """Whether a baseline suffices is not what is compared."""
    return {} if kind == "caltrack-hourly" else {"ignore_disqualification": True}


if __name__ == "__main__":
    main(sys.argv[1:])
