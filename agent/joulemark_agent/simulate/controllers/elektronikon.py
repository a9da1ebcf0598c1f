"""An Elektronikon Mk5 as its own web pages see it: questions of selectors, answers or X.

What it has stands where a controller had it whose catalogue was published.
Source: siyka-au/pytronikon@74a6a9e ac1cat.json; siyka-au/node-elektronikon-cgi@902c0f8
notes/elektronikon-mkv-protocol.md, src/codec.js.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from joulemark_agent.simulate.controllers.compressor import LABEL, Compressor
from joulemark_agent.simulate.controllers.web import Asked, Reply

_QUESTION = re.compile(rb"QUESTION=((?:[0-9a-fA-F]{6})+)")
_ACTIVE, _GOOD = 1, 0x0080
_BAR, _CELSIUS, _HOURS, _COUNT, _CUBIC = 0, 1, 0, 1, 2  # codes of units


class Elektronikon:
    """One controller."""

    def __init__(
        self,
        compressor: Compressor,
        now_s: Callable[[], float],
        *,
        ends_connections: bool = False,
    ) -> None:
        self._compressor, self._now_s = compressor, now_s
        self._ends_connections = ends_connections
        self.largest_question = 0  # selectors

    def respond(self, asked: Asked) -> Reply:
        """The reply to one request."""
        found = _QUESTION.fullmatch(asked.body)
        if (asked.method, asked.target) != ("POST", "/cgi-bin/mkv.cgi") or found is None:
            return Reply(b"<html>no such page</html>", 404)
        digits = found[1].decode().lower()
        selectors = [digits[at : at + 6] for at in range(0, len(digits), 6)]
        self.largest_question = max(self.largest_question, len(selectors))
        answers = self._answers()
        text = "".join(answers.get(selector, "X") for selector in selectors)
        return Reply(
            text.encode(),
            fields=[("Content-Type", "text/html")],
            ends_connection=self._ends_connections,
        )

    def _answers(self) -> dict[str, str]:
        state = self._compressor.at(self._now_s())
        counters = (
            (1, state.running_s, _HOURS),
            (2, state.loaded_s, _HOURS),
            (3, state.load_count // 10, _COUNT),
            (4, state.load_count, _COUNT),
            (7, state.running_s + 1_000_000, _HOURS),
            (12, state.loaded_s // 100, _CUBIC),
        )
        analogs = (
            (1, state.pressure_pa // 100, _BAR, LABEL["pressure"]),
            (2, state.outlet_dk, _CELSIUS, LABEL["outlet"]),
            (4, state.ambient_dk, _CELSIUS, LABEL["ambient"]),
        )
        found = {"300108": f"{28 if state.is_loaded else 5:08X}"}
        for number, count, unit in counters:
            found[f"3007{number:02x}"] = f"{count:08X}"
            found[f"2607{number:02x}"] = f"{100 + number:04X}{unit:02X}{_ACTIVE:02X}"
        for number, value, unit, label in analogs:
            found[f"3002{number:02x}"] = f"{value & 0xFFFF:04X}{_GOOD:04X}"
            found[f"{0x200F + number:04x}01"] = f"{label:04X}{unit:02X}{_ACTIVE:02X}"
        return found
