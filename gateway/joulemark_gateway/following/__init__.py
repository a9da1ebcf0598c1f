"""Running projects: what each has saved so far, found again once a local day has passed.

| concern | file |
|---|---|
| what is kept of a project, and what pages and API are given | `so_far.py` |
| the plan cut at the last whole day, measured as a report measures it | `calculation.py` |
| the process that does it, so that ingest shares no interpreter with it | `child.py` |
| which files are followed, and whether one was changed | `files.py` |
| when a project is due, one project after the other, and what went wrong | `follower.py` |
| its days as rows of the series | `rows.py`, `../series/savings.py` |
"""
