"""What takes too long for every change: each file here is one endurance check.

A file holds `run(seed, *, full) -> dict[str, str]`: figures by name, or an AssertionError that says
what did not hold. `full=False` is the subset that pytest runs; the same code, fewer rounds.
"""
