"""The words of a report in English and Korean.

They stand side by side in `words.json`. `texts` holds what a report says around its figures;
`sentences` holds the Korean of the sentences that stand in report.json itself, in English: rules,
policies, warnings, limits. Words in braces are filled in. Codes, ids, units, figures and what
people wrote in their plan are never translated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from string import Formatter
from typing import Any, Literal

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = ("en", "ko")
_FILE = resources.files("joulemark_gateway.reports").joinpath("words.json")
_CONTENT: Mapping[str, Any] = json.loads(_FILE.read_text("utf-8"))
TEXTS: Mapping[str, Mapping[str, str]] = _CONTENT["texts"]
SENTENCES: Mapping[str, str] = {row["en"]: row["ko"] for row in _CONTENT["sentences"]}


@dataclass(frozen=True)
class Words:
    """The words of one language."""

    language: Language

    def __getitem__(self, key: str) -> str:
        """The text under this key, braces as they are."""
        return TEXTS[key][self.language]

    def name(self, kind: str, name: str) -> str:
        """What a name of this kind is called; itself where it has no other name."""
        return self[f"{kind}_{name}"] if f"{kind}_{name}" in TEXTS else name

    def parts(self, key: str) -> Iterator[tuple[str, str | None]]:
        """The text cut at its braces: words, and the name that follows them or None."""
        for literal, name, _, _ in Formatter().parse(self[key]):
            yield literal, name

    def of(self, sentence: str) -> str:
        """A sentence of report.json in this language; itself where there is no translation."""
        if self.language == "en":
            return sentence
        if sentence in SENTENCES:
            return SENTENCES[sentence]
        for pattern, translation in self._patterns:
            match = pattern.fullmatch(sentence)
            if match:
                return translation.format_map(match.groupdict())
        return sentence

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        return [(pattern_of(sentence), SENTENCES[sentence]) for sentence in SENTENCES]


def pattern_of(sentence: str) -> re.Pattern[str]:
    """What matches a sentence of `SENTENCES` with its braces filled in."""
    whole = "".join(
        re.escape(literal) + (f"(?P<{name}>.+?)" if name else "")
        for literal, name, _, _ in Formatter().parse(sentence)
    )
    return re.compile(whole, re.DOTALL)


WORDS: Mapping[Language, Words] = {language: Words(language) for language in LANGUAGES}
