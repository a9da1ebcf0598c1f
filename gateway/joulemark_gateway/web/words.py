"""The words of the pages in English and Korean, side by side in `words.json`.

What operators wrote (ids, titles, causes) and stable codes are never translated. What equipment
models and checks say in English has its Korean in `sentences.json`; what is not there stays so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from joulemark_gateway.reports.words import LANGUAGES, Language, pattern_of

_FILE = resources.files("joulemark_gateway.web").joinpath("words.json")
TEXTS: Mapping[str, Mapping[str, str]] = json.loads(_FILE.read_text("utf-8"))
_SENTENCES = resources.files("joulemark_gateway.web").joinpath("sentences.json")
_PATTERNS: list[tuple[re.Pattern[str], str]] = [
    (pattern_of(row["en"]), row["ko"]) for row in json.loads(_SENTENCES.read_text("utf-8"))
]  # of the sentences that equipment models say, the longer ones of two that begin alike first
COOKIE = "lang"


@dataclass(frozen=True)
class Words:
    """The words of one language; a key that is missing is an error, never shown."""

    language: Language

    def __call__(self, key: str, **values: Any) -> str:
        """The text under this key with its braces filled in."""
        return TEXTS[key][self.language].format(**values)

    def known(self, key: str, otherwise: str) -> str:
        """The text under a key made from data; itself where nobody has named it."""
        return TEXTS[key][self.language] if key in TEXTS else otherwise

    def told(self, sentence: str) -> str:
        """A sentence of an equipment model in this language; itself where it is not known."""
        if self.language != "en":
            for pattern, translation in _PATTERNS:
                match = pattern.fullmatch(sentence)
                if match:
                    return translation.format_map(match.groupdict())
        return sentence


WORDS: Mapping[Language, Words] = {language: Words(language) for language in LANGUAGES}


def language_of(asked: str | None, remembered: str | None, accepted: str | None) -> Language:
    """The language of an answer.

    Args:
        asked: by `?lang=`.
        remembered: by the cookie.
        accepted: the header Accept-Language.
    """
    for name in (asked, remembered):
        for language in LANGUAGES:
            if name == language:
                return language
    best: tuple[float, Language] = (0.0, "en")
    for part in (accepted or "")[:500].split(","):
        tag, _, rest = part.strip().partition(";")
        weight = _weight(rest)
        for language in LANGUAGES:
            if tag.lower().partition("-")[0] == language and weight > best[0]:
                best = (weight, language)
    return best[1]


def _weight(text: str) -> float:
    name, _, number = text.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(max(float(number), 0.0), 1.0)
    except ValueError:
        return 0.0
