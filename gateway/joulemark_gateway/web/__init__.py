"""The pages the collector shows itself: server-made, readable without script, nothing fetched.

| looking for | open |
|---|---|
| addresses and what stands on each page | `pages.py`, `templates/` |
| energy and demand; data quality | `usage.py`; `quality.py` |
| from a figure to its witness | `explorer.py` |
| several devices together | `systems.py` |
| words in English and Korean, side by side | `words.json`, `words.py` |
| how numbers, units and times are printed | `figures.py` |
| charts | `charts.py`; those of a report are `reports/plots.py` |
| security headers, errors, the whole application | `application.py` |
| the thread that serves it | `server.py` |
"""
