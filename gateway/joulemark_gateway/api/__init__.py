"""What the collector tells over HTTP: read-only answers from evidence, series and reports.

| looking for | open |
|---|---|
| where the answers come from | `sources.py` |
| sites, devices, what is held | `plant.py` |
| energy and CO2e by local day, shares of quality | `energy.py` |
| all sites beside the days before; by period, by hour, demand | `overview.py`; `usage.py` |
| slots and values by day | `upkeep.py` |
| from a figure to its records, proofs, witness | `records.py`, `chain.py` |
| several devices together | `systems.py` |
| projects and their files | `projects.py`; running ones: `../following/` |
| the form of every answer | `models.py` |
| addresses, limits, errors | `routes.py`, `problems.py` |
"""
