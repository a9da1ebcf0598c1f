"""The report as one self-contained page: no script, nothing fetched, printable, fit for a phone.

A pure function of the report's content. Every figure is the report's own text; only its digits are
set in groups of three, by style and not by characters.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from importlib import resources

from joulemark_gateway.qr_code import svg
from joulemark_gateway.reports.blocks import (
    Banner,
    Beside,
    Block,
    Card,
    Cards,
    Charts,
    Code,
    Command,
    Facts,
    Figure,
    Heading,
    Items,
    Letterhead,
    Pairs,
    Paragraph,
    Section,
    Table,
    Text,
    is_figure,
)
from joulemark_gateway.reports.content import content
from joulemark_gateway.reports.letters import escape
from joulemark_gateway.reports.plots import Report
from joulemark_gateway.reports.words import Language

_STYLE = resources.files("joulemark_gateway.reports").joinpath("report.css").read_text("utf-8")
_CODE = ".code svg{width:13rem;max-width:100%;height:auto}"
_ENGINE = (
    ".banner.overridden{background:#7d1a22;color:#fff;border:0}"
    "@media screen and (max-width:760px){.scroll:has(th:nth-child(5)) table{min-width:600px}}"
)
_NARROW = 3  # columns of a table that would look lost over the whole width
_NUMBER = re.compile(r"(-?)([0-9]+)(\.[0-9]+)?")
_MARKS = {
    "strong": ("<b>", "</b>"),
    "small": ("<small>", "</small>"),
    "struck": ("<s>", "</s>"),
    "code": ("<code>", "</code>"),
    "digest": ('<code class="digest">', "</code>"),
    "synthetic": ("<em>", "</em>"),
    "holds": ('<span class="verdict ok">', "</span>"),
    "fails": ('<span class="verdict bad">', "</span>"),
    "none": ('<span class="none">', "</span>"),
}


def page(report: Report, language: Language = "en") -> str:
    """The page of a report."""
    shown = content(report, language)
    style = _STYLE + (_CODE if "account" in report else "")  # older pages stay as they were
    style += _ENGINE if "engine" in report else ""
    policy = _policy(style)
    parts = [
        *(_banner(banner) for banner in shown.banners),
        "<main>",
        _letterhead(shown.letterhead),
        *("".join(_part(part) for part in group) for group in shown.body),
        "</main>",
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(shown.title)}</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n"
        "</body>\n</html>\n"
    )


def _policy(style: str) -> str:
    """The page may use its own style and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _banner(banner: Banner) -> str:
    return (
        f'<div class="banner {escape(banner.code)}" role="note">'
        f"<strong>{escape(banner.name)}</strong>{escape(banner.rest)}</div>"
    )


def _letterhead(head: Letterhead) -> str:
    return (
        f'<header><p class="brand">Joulemark <span>{escape(head.kind)}</span></p>'
        f"<h1>{escape(head.title)}</h1><p>{_markup(head.lead)}</p>"
        f'<p class="meta">{_markup(head.about)}</p></header>'
    )


def _part(part: Cards | Facts | Charts | Section | Beside) -> str:
    match part:
        case Cards(cards):
            return f'<section class="headline">{"".join(map(_card, cards))}</section>'
        case Facts(rows):
            cells = "".join(
                f"<div><dt>{escape(name)}</dt><dd>{_markup(text)}</dd></div>" for name, text in rows
            )
            return f'<dl class="facts">{cells}</dl>'
        case Charts():
            return _charts(part)
        case Beside(left, right):
            return f'<div class="pair">{_section(left)}{_section(right)}</div>'
        case Section():
            return _section(part)


def _card(card: Card) -> str:
    kind = f" {card.kind}" if card.kind else ""
    lines = "".join(
        f'<p class="{style}">{_markup(text)}</p>' if style else f"<p>{_markup(text)}</p>"
        for style, text in card.lines
    )
    items = _list(card.items) if card.items else ""
    return (
        f'<div class="card{kind}"><h2>{escape(card.title)}</h2>'
        f'<p class="figure">{_markup(card.figure)}</p>{lines}{items}</div>'
    )


def _charts(charts: Charts) -> str:
    drawn = []
    for chart in charts.charts:
        key = " ".join(f'<i class="key {style}"></i>{escape(shown)}' for style, shown in chart.keys)
        title = f"<b>{escape(chart.title)}</b><span>{key}</span>"
        drawn.append(f"<figure><figcaption>{title}</figcaption>{chart.svg}")
    notes = "".join(f"<li>{_markup(note)}</li>" for note in charts.notes)
    listed = f'<ul class="holes">{notes}</ul>' if notes else ""
    return f'<section class="plots">{"</figure>".join(drawn)}{listed}</figure></section>'


def _section(section: Section) -> str:
    kind = f' class="{section.kind}"' if section.kind else ""
    note = f' <small class="policy">{escape(section.note)}</small>' if section.note else ""
    blocks = "".join(map(_block, section.blocks))
    return f"<section{kind}><h2>{escape(section.title)}{note}</h2>{blocks}</section>"


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{_markup(text)}</p>"
        case Heading(text):
            return f"<h3>{escape(text)}</h3>"
        case Table():
            return _table(block)
        case Pairs(rows):
            cells = "".join(
                f"<div><dt>{escape(name)}</dt><dd>{_markup(text)}</dd></div>" for name, text in rows
            )
            return f'<dl class="pairs">{cells}</dl>'
        case Items(items):
            return _list(items)
        case Command(text):
            return f"<pre>{escape(text)}</pre>"
        case Code(text, alt):
            drawn = svg(f"{text}\n", escape(alt))
            return f'<pre>{escape(text)}</pre><div class="code">{drawn}</div>'


def _list(items: Iterable[Text]) -> str:
    return f"<ul>{''.join(f'<li>{_markup(item)}</li>' for item in items)}</ul>"


def _table(table: Table) -> str:
    if not table.rows and table.empty:
        return f'<p class="none">{escape(table.empty)}</p>'
    right = [all(is_figure(row[k]) for row in table.rows) for k in range(len(table.head))]
    kinds = [' class="num"' if is_right else "" for is_right in right]
    heads = "".join(
        f"<th{kind}>{escape(name)}</th>" for name, kind in zip(table.head, kinds, strict=True)
    )
    rows = [
        "".join(f"<td{kind}>{_markup(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        for row in table.rows
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    narrow = " narrow" if len(table.head) <= _NARROW else ""
    return (
        f'<div class="scroll{narrow}"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _markup(text: Text) -> str:
    """Text as markup."""
    parts = []
    for part in text:
        if isinstance(part, str):
            parts.append(escape(part))
        elif isinstance(part, Figure):
            parts.append(_figure(part.text))
        else:
            opening, closing = _MARKS[part.kind]
            parts.append(f"{opening}{_markup(part.text)}{closing}")
    return "".join(parts)


def _figure(text: str) -> str:
    """A figure: the text itself, its whole part set in groups of three."""
    match = _NUMBER.fullmatch(text)
    if match is None or len(match[2]) <= 4:
        return f'<span class="n">{escape(text)}</span>'
    sign, whole, fraction = match[1], match[2], match[3] or ""
    first = len(whole) % 3 or 3
    groups = [whole[i : i + 3] for i in range(first, len(whole), 3)]
    spans = "".join(f"<span>{group}</span>" for group in groups)
    return f'<span class="n">{sign}{whole[:first]}{spans}{fraction}</span>'
