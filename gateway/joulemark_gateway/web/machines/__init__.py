"""What a page shows of each kind of machine beside its figures: one file per kind of profile.

A file exports `panels(view)`; a kind without one has the figures and the states alone.
"""
