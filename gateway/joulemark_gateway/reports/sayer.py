"""Texts of a report in one language: words from the list, figures as the report prints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joulemark_gateway.reports.blocks import Figure, Mark, Part, Text
from joulemark_gateway.reports.plots import Report
from joulemark_gateway.reports.words import Words


@dataclass(frozen=True)
class Sayer:
    """Says what stands in a report."""

    report: Report
    words: Words

    def _say(self, key: str, **parts: Part) -> Text:
        """The text under a key with its braces filled in."""
        said: list[str | Figure | Mark] = []
        for literal, name in self.words.parts(key):
            if literal:
                said.append(literal)
            if name is not None:
                part = parts[name]
                said += part if isinstance(part, tuple) else (part,)
        return tuple(said)

    def _n(self, text: str | None) -> Text:
        """A figure, or the word for none."""
        if text is None:
            return (Mark("none", (self.words["none"],)),)
        return (Figure(text),)

    def _heads(self, *keys: str) -> tuple[str, ...]:
        return tuple(self.words[f"head_{key}"] if key else "" for key in keys)

    def _of(self, sentence: str) -> str:
        return self.words.of(sentence)

    def _subject(self, subject: str) -> str:
        """What a finding is about; a period and a column are said each by itself."""
        if "engine" not in self.report:
            return self._of(subject)
        return ": ".join(", ".join(map(self._of, part.split(", "))) for part in subject.split(": "))

    def _codes(self, codes: Sequence[str]) -> Text:
        return (", ".join(codes),)


def as_digest(text: str) -> Text:
    """A hash, in one piece."""
    return (Mark("digest", (text,)),)
