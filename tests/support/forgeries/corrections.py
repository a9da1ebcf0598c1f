"""Corrections that an operator signed, put to another use by whoever writes the log."""

from __future__ import annotations

from dataclasses import replace

from joulemark_gateway.evidence.corrections import Correction
from support.bundles import Recipe, true_report
from support.evidence import COUNTER, KEYS, METER, SITE
from support.forgeries.base import found_by
from support.log_recipes import LogRecipe

WRONG = Correction(f"joulemark/{SITE}/{METER}/1", 300, 303, "energy_wh", "excluded",
                   "the meter was opened", "an engineer")  # fmt: skip
BACK = replace(WRONG, treatment="withdrawn", withdraws=WRONG.digest, reason="it was another meter")


def logged(*corrections, **more):
    """A log with these, each truly signed by the operator."""
    signed = [(correction, KEYS.operator) for correction in corrections]
    return Recipe(log=LogRecipe(corrections=signed, **more), issued=true_report())


@found_by("correction_overlap")
def correction_logged_again_after_it_was_taken_back():
    """The operator signed it once, and took it back; the signature fits for ever."""
    return logged(WRONG, BACK, WRONG)


@found_by("correction_position")
def taken_back_where_no_report_shows_it():
    """Signed for another tree: the list of the report would not say who took it back, and why."""
    elsewhere = f"joulemark/{SITE}/{COUNTER}/9"
    return logged(WRONG, replace(BACK, origin=elsewhere))


@found_by("correction_form")
def correction_of_another_version():
    """What was signed says 1."""

    def change(leaf):
        return leaf.replace(b'"v":1,"value"', b'"v":true,"value"')

    return logged(WRONG, leaf=change)
