"""Formulas of machines: pure functions in SI units, each with its source and its range.

A function refuses what lies outside its range with `OutOfDomain`, which says what was given and
what is wanted; a figure that cannot be backed is not given. `docs/formulas.md` lists them all.
"""
