"""What a plan may say besides, in the words of IPMVP: option, boundary, static factors.

The options as known from the literature; the text of IPMVP and of ISO 50015 was not at hand.

| option | what is measured | so a plan that names it |
|---|---|---|
| A | the machine's energy, with a key parameter that is estimated | names one at least |
| B | the machine's energy, with every key parameter | estimates none |
| C | the energy of the whole site | estimates none, and its energy is a meter's |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from joulemark_agent.contract.profile import Exact

Option = Literal["A", "B", "C"]
Said = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")]
_METER = "_meter"  # how the kinds of devices end that only measure


class StaticFactor(BaseModel):
    """What is taken as constant, and what is done when it is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Said
    value: Exact
    unit: Said
    source: Said
    if_changed: Said
    estimated: StrictBool = False  # a key parameter that nobody measures


def contradiction(
    option: Option | None, boundary: str | None, factors: Sequence[StaticFactor]
) -> str | None:
    """What a plan says against itself, as a sentence for its author; None: nothing."""
    names = [factor.name for factor in factors]
    if len(set(names)) != len(names):
        return "two static factors share a name"
    if option is not None and boundary is None:
        return f"option {option} needs a boundary: say which machines and meters lie inside"
    estimated = [factor.name for factor in factors if factor.estimated]
    if option == "A" and not estimated:
        return (
            "option A has a key parameter that is estimated: mark its static factor with "
            "'estimated: true', or name option B"
        )
    if option != "A" and estimated:
        return f"only option A estimates a key parameter, and {estimated[0]!r} is estimated"
    return None


def fits_kind(option: Option | None, kind: str) -> bool:
    """Whether energy that a device of this kind counts can be that of the option's boundary.

    A machine does not count the energy of a site; whether a meter counts that of one machine or of
    all, its kind does not say.
    """
    return option != "C" or kind.endswith(_METER)
