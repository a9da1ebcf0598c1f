"""What a scan found, for who stands beside the machines; and the lines for the site file."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol
from urllib.parse import urlsplit

from joulemark_agent.scan import Found, Match, Scan
from joulemark_agent.sunspec_models import labels

WIDTH = 79
MANY = 10  # units in a row that answer alike: few lines have so many devices of one kind
PERIOD_S = 60
_GUIDE = "docs/connect.md"
_PASTE = "Into the site file, under 'devices:'; choose 'id' and 'period_s':"
_THEN = (
    "Then: joulemark agent check -c SITE.yaml, and compare what joulemark agent read -c SITE.yaml"
    " shows with the machine's own display."
)


class Proposal(Protocol):
    """What is proposed for an OPC UA server."""

    @property
    def title(self) -> str:
        """Which machine."""

    @property
    def about(self) -> str:
        """What was found of it, and what is to be done."""

    @property
    def profile(self) -> str:
        """The YAML."""


def as_text(
    result: Scan, took_s: float, written: Mapping[int, str], *, is_offered: bool = False
) -> str:
    """The whole report.

    Args:
        result: what was found.
        took_s: how long it took. [s]
        written: the file of the profile made for a unit, by unit.
        is_offered: whether a profile could be made of what was found.
    """
    lines = [*_wrapped(_summary(result, took_s)), ""]
    looked_at = [found for found in result.found if found.like is None]
    if result.found:
        lines += [_table(result, written), ""]
    for found in looked_at:
        lines += _details(found, written.get(found.unit))
    lines += _advice(result, is_offered=is_offered)
    if devices := device_lines(result, written):
        lines += [_PASTE, "", *devices, "", *_wrapped(_THEN)]
    return "\n".join(lines).rstrip() + "\n"


def as_mapping(result: Scan, took_s: float, written: Mapping[int, str]) -> dict[str, Any]:
    """The same for a program."""
    return {
        "url": result.url,
        "asked": result.asked,
        "questions": result.questions,
        "took_s": round(took_s, 1),
        "stopped": result.stopped,
        "wrong": {str(unit): what for unit, what in result.wrong.items()},
        "devices": [
            {
                "unit": found.unit,
                "like": found.like,
                "identification": found.identification,
                "sunspec": {
                    "models": [
                        {"model": model, "label": labels().get(model, ""), "words": words}
                        for model, words in found.models.items()
                    ],
                    "says": found.common,
                },
                "notes": found.notes,
                "profiles": [_match_mapping(match) for match in found.matches],
                "proposed": written.get(found.unit) or (found.best.profile if found.best else None),
                "device_line": _device_line(result, found, written),
            }
            for found in result.found
        ],
    }


def variables_text(url: str, found: Sequence[Proposal], files: Sequence[str]) -> str:
    """The report on an OPC UA server."""
    if not found:
        return "\n".join(_wrapped(f"{url} answers, and has no variable that can be read.")) + "\n"
    lines = [f"{url}:", ""]
    for i, proposal in enumerate(found):
        lines += _wrapped(proposal.title)
        lines += _item("about", proposal.about)
        points = proposal.profile.count("- {name:")
        lines += _item("profile", f"{files[i] if i < len(files) else 'proposed'}, {points} points")
        lines.append("")
    if not files:
        lines += _wrapped("Run it again with --profile OUT.yaml to have the profiles as files.")
        return "\n".join(lines) + "\n"
    pasted = [
        f"  - {{id: machine-{i}, profile: {_plain(file)}, period_s: {PERIOD_S},\n"
        f'     url: "{url}"}}'
        for i, file in enumerate(files, 1)
    ]
    lines += [_PASTE, "", *pasted, "", *_wrapped(f"Where a profile says 'choose', choose. {_THEN}")]
    return "\n".join(lines) + "\n"


def variables_mapping(url: str, found: Sequence[Proposal], files: Sequence[str]) -> dict[str, Any]:
    """The same for a program."""
    return {
        "url": url,
        "proposals": [
            {
                "title": proposal.title,
                "about": proposal.about,
                "profile": proposal.profile,
                "file": files[i] if i < len(files) else None,
            }
            for i, proposal in enumerate(found)
        ],
    }


def controller_text(url: str, match: Match) -> str:
    """The report on a controller with a web interface."""
    lines = [f"{url}:", "", *_of_match(match), "", _PASTE, "", _controller_line(url, match), ""]
    return "\n".join([*lines, *_wrapped(_THEN)]) + "\n"


def controller_mapping(url: str, match: Match) -> dict[str, Any]:
    """The same for a program."""
    line = _controller_line(url, match)
    return {"url": url, "profiles": [_match_mapping(match)], "device_line": line}


def _controller_line(url: str, match: Match) -> str:
    return (
        f"  - {{id: compressor-1, profile: {match.profile}, period_s: {PERIOD_S},\n"
        f'     url: "{url}"}}'
    )


def device_lines(result: Scan, written: Mapping[int, str]) -> list[str]:
    """What goes into the site file, in YAML."""
    kept = result.found[:1] if answers_everywhere(result) else result.found
    return [line for found in kept if (line := _device_line(result, found, written))]


def answers_everywhere(result: Scan) -> bool:
    """Whether one device answers under whatever number it is asked: many, alike, none missing."""
    alike = [found for found in result.found if found.like == result.found[0].unit]
    serials = {found.common.get("serial", "") for found in result.found}
    return len(alike) + 1 == len(result.asked) >= MANY and len(serials) == 1


def _match_mapping(match: Match) -> dict[str, Any]:
    return {
        "profile": match.profile,
        "how": match.how,
        "certainty": match.certainty,
        "why": match.why,
        "good_points": match.good,
        "points": match.points,
        "values": {shown.name: shown.value for shown in match.shown},
        "failed": list(match.failed),
    }


def _summary(result: Scan, took_s: float) -> str:
    number = len(result.found)
    nothing = "nothing answers as it should" if result.wrong else "nothing answers"
    there = nothing if not number else f"{number} answer{'s' if number == 1 else ''}"
    asked = f"asked unit{'' if len(result.asked) == 1 else 's'} {ranges(result.asked) or 'none'}"
    return (
        f"{result.url}: {asked}, {there}"
        f" ({result.questions:,} question{'' if result.questions == 1 else 's'}, {took_s:.0f} s)."
    )


def ranges(units: Sequence[int]) -> str:
    """Numbers as people write them: 1-30, 255."""
    groups: list[list[int]] = []
    for before, unit in pairwise([-2, *sorted(units)]):
        if unit == before + 1:
            groups[-1][1:] = [unit]
        else:
            groups.append([unit])
    return ", ".join("-".join(map(str, group)) for group in groups)


def _table(result: Scan, written: Mapping[int, str]) -> str:
    rows = [("unit", "what it calls itself", "profile", "how sure")]
    looked_at = [found for found in result.found if found.like is None]
    for found in looked_at:
        units = [found.unit, *(f.unit for f in result.found if f.like == found.unit)]
        best, made = found.best, written.get(found.unit)
        if made:
            profile, sure = made, "certain"
        elif best:
            profile, sure = best.profile, best.certainty
        else:
            profile, sure = ("several fit", "possible") if found.matches else ("-", "-")
        rows.append((ranges(units), found.says or "-", profile, sure))
    room = WIDTH - 8 - sum(max(len(row[i]) for row in rows) for i in (0, 2, 3))
    cut = [(a, textwrap.shorten(b, max(room, 12), placeholder="..."), c, d) for a, b, c, d in rows]
    widths = [max(len(row[i]) for row in cut) for i in range(4)]
    return "\n".join(
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in cut
    )


def _details(found: Found, made: str | None) -> list[str]:
    lines = [f"Unit {found.unit}"]
    if found.identification:
        said = "; ".join(f"{name} {text}" for name, text in found.identification.items())
        lines += _item("says", f"{said} (function 43/14)")
    if found.models:
        named = [f"{model} {labels().get(model, 'unknown')}" for model in found.models]
        lines += _item("SunSpec", ", ".join(named))
        if found.common:
            lines += _item("", "; ".join(f"{name} {text}" for name, text in found.common.items()))
    if made:
        lines += _item("profile", f"{made}: made from its SunSpec map.")
    for match in found.matches[:3]:
        lines += _of_match(match)
    if not found.matches and not made:
        none = "none of the shipped ones "
        none += "reads these models." if found.models else "is recognised."
        lines += _item("profile", none)
    for note in found.notes:
        lines += _item("note", note)
    return [*lines, ""]


def _of_match(match: Match) -> list[str]:
    lines = _item("profile", f"{match.profile}, {match.certainty}: {match.why}.")
    if match.shown:
        shown = ", ".join(f"{s.name} {_short(s.value)} {s.unit}".rstrip() for s in match.shown)
        lines += _item("", f"{match.good} of {match.points} points good: {shown}")
    for failed in match.failed[:3]:
        lines += _item("", f"but {failed}")
    return lines


def _advice(result: Scan, *, is_offered: bool) -> list[str]:
    said = []
    if result.wrong:
        units, [what, *_] = ranges(list(result.wrong)), result.wrong.values()
        said.append(f"Under {units} something answers that cannot be used: {what}")
    if result.stopped:
        said.append(f"The scan ended early: {result.stopped}")
    if not result.found and not result.stopped and not result.wrong:
        said.append(
            "The connection is there, but no unit answers. Check the unit's number on the device's"
            " display and ask for it: --units 0-247. "
            + (
                "A gateway answers: check speed and parity on its serial side, and A and B."
                if result.is_gateway
                else "Check the framing: modbus-tcp, or modbus-rtu-tcp behind a simple gateway."
                if urlsplit(result.url).netloc
                else "Check baud, parity and stop bits in the URL, and A and B of the wiring."
            )
        )
    if answers_everywhere(result):
        said.append(
            "Every unit asked gives the same answers: this is one device that takes any number."
            f" Connect it once, as unit {result.found[0].unit}."
        )
    if any(not found.matches and not found.models for found in result.found):
        said.append(
            "For a device that is not recognised: look for its model in 'joulemark agent profiles';"
            f" if it is not there, {_GUIDE} shows how to write its profile from its manual."
        )
    if is_offered:
        said.append("For a SunSpec device --profile OUT.yaml writes a profile made from its map.")
    if any(found.best is None and found.matches for found in result.found):
        said.append("Where several profiles fit, the device's type plate decides.")
    return [line for text in said for line in [*_wrapped(text), ""]]


def _device_line(result: Scan, found: Found, written: Mapping[int, str]) -> str | None:
    made = written.get(found.unit)
    if made is None and found.best is None:
        return None
    profile = made or (found.best.profile if found.best else "")
    scheme, _, rest = result.url.partition("://")
    if written or any(each.best and each.best.how == "models" for each in result.found):
        scheme = scheme.replace("modbus", "sunspec")  # for all of them: they share a connection
    return (
        f"  - {{id: unit-{found.unit}, profile: {_plain(profile)}, unit: {found.unit},"
        f' period_s: {PERIOD_S},\n     url: "{scheme}://{rest}"}}'
    )


def _plain(name: str) -> str:
    """A name in YAML, between quotation marks where it needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_./-]+", name) else json.dumps(name)


def _short(value: str) -> str:
    """Six digits are enough to compare with a display."""
    return f"{float(value):,.6g}" if len(value) > 12 else value


def _item(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {name:<9}",
        subsequent_indent=" " * 11,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
