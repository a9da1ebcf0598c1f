"""The parts a report is laid out of; how each looks is for `html.py` and `pdf.py` to say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from joulemark_gateway.reports.words import Language

_DATE = re.compile(r"[0-9]{4}-")

MarkKind = Literal[
    "strong", "small", "struck", "code", "digest", "synthetic", "holds", "fails", "none"
]


@dataclass(frozen=True)
class Figure:
    """A figure as the report prints it."""

    text: str


@dataclass(frozen=True)
class Mark:
    """Text that is set apart."""

    kind: MarkKind
    text: Text


Text = tuple["str | Figure | Mark", ...]
Part = str | Figure | Mark | Text


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: Text


@dataclass(frozen=True)
class Heading:
    """The head of what follows inside a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; without rows the sentence `empty`."""

    head: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    empty: str = ""


@dataclass(frozen=True)
class Pairs:
    """Names and what they stand for."""

    rows: tuple[tuple[str, Text], ...]


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Command:
    """What to type."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be kept, as they are and as a QR code."""

    text: str
    alt: str  # what it is, for who does not see it


Block = Paragraph | Heading | Table | Pairs | Items | Command | Code


@dataclass(frozen=True)
class Banner:
    """What stands across the top."""

    code: str
    name: str  # up to its colon
    rest: str  # from its colon on


@dataclass(frozen=True)
class Letterhead:
    """Whose report this is."""

    kind: str
    title: str
    lead: Text
    about: Text


@dataclass(frozen=True)
class Card:
    """One result in large figures."""

    kind: Literal["main", "", "refused"]
    title: str
    figure: Text
    lines: tuple[tuple[Literal["", "policy", "doubt"], Text], ...]
    items: tuple[Text, ...] = ()


@dataclass(frozen=True)
class Cards:
    """The result."""

    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Facts:
    """A row of small figures."""

    rows: tuple[tuple[str, Text], ...]


@dataclass(frozen=True)
class Chart:
    """A drawing and the key to it."""

    title: str
    alt: str  # what it shows, for who does not see it
    keys: tuple[tuple[str, str], ...]  # class of the ink, what it shows
    svg: str


@dataclass(frozen=True)
class Charts:
    """The drawings, and what stands under the last."""

    charts: tuple[Chart, ...]
    notes: tuple[Text, ...]


@dataclass(frozen=True)
class Section:
    """A headed part of the report."""

    title: str
    blocks: tuple[Block, ...]
    note: str = ""  # beside the title
    kind: Literal["", "refused", "check"] = ""


@dataclass(frozen=True)
class Beside:
    """Two sections that are read together."""

    left: Section
    right: Section


@dataclass(frozen=True)
class Content:
    """The whole report; what belongs together stands in one group of `body`."""

    language: Language
    title: str
    banners: tuple[Banner, ...]
    letterhead: Letterhead
    body: tuple[tuple[Cards | Facts | Charts | Section | Beside, ...], ...]


def plain(text: Text) -> str:
    """The text without what sets parts of it apart."""
    return "".join(
        part
        if isinstance(part, str)
        else part.text
        if isinstance(part, Figure)
        else plain(part.text)
        for part in text
    )


def is_figure(cell: Text) -> bool:
    """Whether a cell of a table holds figures or nothing; dates are no figures."""
    if not cell:
        return True
    first = cell[0]
    if isinstance(first, Figure):
        return not _DATE.match(first.text)
    return isinstance(first, Mark) and first.kind in ("none", "struck")
