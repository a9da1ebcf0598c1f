"""From the history of readings to avoided energy with its interval: pure, and the same everywhere.

`run.measure(project, histories, factors)` is the whole of it; `result` holds what it returns.
"""
