"""The report as PDF: A4, tagged, made for archives (PDF/A-2a and PDF/UA-1), the same bytes always.

What it shows comes from `content.py`, how it looks stands in `report.typ`, and its only fonts are
those beside this file. Text goes to the compiler as data, so nothing in it is read as markup. A
character that the fonts do not have is shown by its number, [U+4E2D]: the compiler would refuse it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

import typst

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex
from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.qr_code import svg
from joulemark_gateway.reports.blocks import (
    Beside,
    Block,
    Card,
    Cards,
    Charts,
    Code,
    Command,
    Content,
    Facts,
    Figure,
    Heading,
    Items,
    Mark,
    Pairs,
    Paragraph,
    Section,
    Table,
    Text,
    is_figure,
    plain,
)
from joulemark_gateway.reports.content import content
from joulemark_gateway.reports.plots import Report
from joulemark_gateway.reports.words import WORDS, Language

_FOLDER = resources.files("joulemark_gateway.reports")
_LONGEST_STRIP = 100  # letters of the line on top of every page
_LONGEST_TITLE = 400  # letters of the title that programs show; the format sets a limit, too
_LONGEST_WORD, _STEP = 24, 8  # a longer word may break, after every so many letters
_PIECES = re.compile(rf"(\S{{{_LONGEST_WORD + 1},}}|\S*[가-힣-]\S*)")
_BLANK = re.compile(r"\s")
_INK = """
text{font-family:"Joulemark Sans KR","Joulemark Signs"}
.grid{stroke:#d3dae0;stroke-width:1;fill:none}.zero{stroke:#4a5866;stroke-width:1;fill:none}
.tick{font-size:12px;fill:#4a5866}.axis{font-size:12.5px;fill:#1c2733}
.end{text-anchor:end}.middle{text-anchor:middle}
.dot.baseline{fill:#1f5597;fill-opacity:.7}
.dot.reporting{fill:none;stroke:#c65d14;stroke-width:1.1}
.model{stroke:#1c2733;stroke-width:1.6;fill:none}
.line{fill:none;stroke-width:1.2;stroke-linejoin:round}
.line.baseline{stroke:#1f5597}.line.reporting{stroke:#c65d14}
.line.predicted{stroke:#1c2733;stroke-width:1;stroke-dasharray:3 2}
.line.total{stroke:#1e6b4f;stroke-width:2}.band{fill:#c9dfd6;stroke:none}
.day.measured{fill:#cfe3da}.day.estimated{fill:#d9a514}.day.missing{fill:#a3202b}
.day.out{stroke:#1c2733;stroke-width:1.4}
"""
Json = dict[str, Any]


def pdf(report: Report, language: Language = "en") -> bytes:
    """The PDF of a report: the same report and the same Joulemark give the same bytes.

    Raises:
        MeasureError: `not_printable` where the report's time of issue is none, or the compiler
            refuses the text.
    """
    try:
        issued = datetime.fromisoformat(report["issued"])
        data = json.dumps(_data(report, language), ensure_ascii=False)
        made = _compiler().compile(
            _FOLDER.joinpath("report.typ").read_bytes(),
            format="pdf",
            sys_inputs={"report": data},
            timestamp=int(issued.timestamp()),
            pdf_standards=["a-2a", "ua-1"],
        )
    except (ValueError, typst.TypstError) as error:
        raise MeasureError(
            f"The report cannot be made a PDF: {error}.",
            "Look at the texts of the plan; report.html and report.json do without.",
            code="not_printable",
        ) from error
    assert isinstance(made, bytes), "one file, not one a page"
    return made


def shown(text: str) -> str:
    """The text as the fonts can show it; what they lack stands as its number."""
    composed = unicodedata.normalize("NFC", text)
    known = characters()
    return "".join(
        letter if letter in known else " " if letter.isspace() else f"[U+{ord(letter):04X}]"
        for letter in composed
    )


@cache
def characters() -> frozenset[str]:
    """What the fonts can show, as the script that made them wrote it down."""
    listed = _FOLDER.joinpath("fonts/characters.txt").read_text("ascii").split()
    ranges = (item.partition("-") for item in listed)
    return frozenset(
        chr(code) for first, _, last in ranges for code in range(int(first, 16), int(last, 16) + 1)
    )


@cache
def _compiler() -> typst.Compiler:
    with resources.as_file(_FOLDER.joinpath("fonts")) as folder:
        fonts = typst.Fonts(
            include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(folder)]
        )
    return typst.Compiler(font_paths=fonts)


def _data(report: Report, language: Language) -> Json:
    words, told = WORDS[language], content(report, language)
    digest = digest_hex(canonical_bytes(dict(report)))
    foot = [
        words["sheet_foot"].format(project=report["project"]["id"], issued=report["issued"]),
        words["sheet_digest"].format(digest=digest),
    ]
    strip = " · ".join(dict.fromkeys(banner.name for banner in told.banners))
    return {
        "language": language,
        "title": _short(shown(told.title), _LONGEST_TITLE),
        "heading": _plain(told.letterhead.title),
        "kind": told.letterhead.kind,
        "lead": _text(told.letterhead.lead),
        "about": _text(told.letterhead.about),
        "banners": [[_plain(banner.name), _plain(banner.rest)] for banner in told.banners],
        "strip": _plain(_short(strip, _LONGEST_STRIP)),
        "foot": [_plain(line) for line in foot],
        "about_file": shown(" ".join(foot)),
        "page_of": words["page_of"],
        "body": _body(told),
    }


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[:letters]}…"


def _body(told: Content) -> list[Json]:
    return [_part(part) for group in told.body for part in group]


def _part(part: Cards | Facts | Charts | Section | Beside) -> Json:
    match part:
        case Cards(cards):
            return {"is": "cards", "cards": [_card(card) for card in cards]}
        case Facts(rows):
            return {"is": "facts", "rows": _pairs(rows)}
        case Charts(charts, notes):
            drawn = [
                {
                    "title": _plain(chart.title),
                    "alt": chart.alt,
                    "keys": [list(key) for key in chart.keys],
                    "svg": _drawing(chart.svg),
                }
                for chart in charts
            ]
            return {"is": "charts", "charts": drawn, "notes": [_text(note) for note in notes]}
        case Section():
            return _section(part)
        case Beside(left, right):
            return {"is": "beside", "left": _section(left), "right": _section(right)}


def _card(card: Card) -> Json:
    return {
        "kind": card.kind,
        "title": _plain(card.title),
        "figure": _text(card.figure),
        "lines": [[style, _text(text)] for style, text in card.lines],
        "items": [_text(item) for item in card.items],
    }


def _section(section: Section) -> Json:
    return {
        "is": "section",
        "kind": section.kind,
        "title": _plain(section.title),
        "note": _plain(section.note),
        "blocks": [_block(block) for block in section.blocks],
    }


def _block(block: Block) -> Json:
    match block:
        case Paragraph(text):
            return {"is": "paragraph", "text": _text(text)}
        case Heading(text):
            return {"is": "heading", "text": _plain(text)}
        case Table():
            return _table(block)
        case Pairs(rows):
            return {"is": "pairs", "rows": _pairs(rows)}
        case Items(items):
            return {"is": "items", "items": [_text(item) for item in items]}
        case Command(text):
            return {"is": "command", "text": _plain(text)}
        case Code(text, alt):
            lines = [_plain(line) for line in text.split("\n")]
            return {"is": "code", "lines": lines, "alt": alt, "svg": _drawn(svg(f"{text}\n", ""))}


def _table(table: Table) -> Json:
    """A table; the column with the most words takes what the others leave."""
    columns = [[row[k] for row in table.rows] for k in range(len(table.head))]
    wordy = [
        max((len(plain(cell)) for cell in cells if cell and isinstance(cell[0], str)), default=0)
        for cells in columns
    ]
    widest = max(wordy)  # 0 where all columns are figures: these share the width
    return {
        "is": "table",
        "head": [_plain(name) for name in table.head],
        "right": [all(is_figure(cell) for cell in cells) for cells in columns],
        "wide": [width == widest for width in wordy],
        "rows": [[_text(cell) for cell in row] for row in table.rows],
        "empty": _plain(table.empty),
    }


def _pairs(rows: tuple[tuple[str, Text], ...]) -> list[list[Any]]:
    return [[_plain(name), _text(text)] for name, text in rows]


def _text(text: Text) -> list[list[Any]]:
    parts: list[list[Any]] = []
    for part in text:
        if isinstance(part, Mark):
            parts.append([part.kind, _text(part.text)])
        else:
            parts += _plain(part.text if isinstance(part, Figure) else part)
    return parts


def _plain(text: str) -> list[list[Any]]:
    """Text in pieces: what may be broken between words, what may not, what must be somewhere."""
    parts: list[list[Any]] = []
    for piece in _PIECES.split(shown(text)):
        if len(piece) > _LONGEST_WORD and not _BLANK.search(piece):
            steps = range(0, len(piece), _STEP)
            parts.append(["broken", [piece[k : k + _STEP] for k in steps]])
        elif _PIECES.fullmatch(piece):
            parts.append(["whole", piece])
        elif piece:
            parts.append(["text", piece])
    return parts


def _drawing(drawn: str) -> str:
    """The drawing with its ink inside; colours differ in lightness, shapes in form."""
    opening, rest = drawn.split(">", 1)
    return _drawn(shown(f"{opening}><style>{_INK}</style>{rest}"))


def _drawn(drawing: str) -> str:
    """The drawing as a file of its own."""
    return drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
