"""Texts of others in a page: markup is escaped, and what turns or hides letters is shown as it is.

A mark of direction in a name would turn the figures behind it round, and what moves the cursor of a
terminal is no letter: both stand as their numbers, as in the PDF.
"""

from __future__ import annotations

import html
import re

# Controls but tab and line feed, and the marks of Unicode's bidirectional algorithm (UAX 9).
_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    """The text, safe in an element and in an attribute."""
    return html.escape(_UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text))
