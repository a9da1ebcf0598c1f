"""What energy costs: tariffs as data, cost beside kWh, demand, its forecast and its warning.

| question | file |
|---|---|
| what a tariff is, and what is a mistake in one | `tariff.py` (pure) |
| energy by the steps of its clock | `steps.py` (pure) |
| cost by band, lines of the bill | `cost.py` (pure) |
| intervals of demand, peaks, what is billed | `demand.py` (pure) |
| where a running interval goes, when to warn | `forecast.py` (pure) |
| the same of a site's series | `months.py`, `watch.py` |
"""
