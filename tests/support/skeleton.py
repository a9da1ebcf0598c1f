"""What a page makes a browser do, apart from the words on it: its tags, attributes and addresses.

A payload is effective where it changes this. Words may be anything, so two pages that differ in
their words alone have the same skeleton.
"""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urlsplit

ADDRESSES = {"href", "src", "action", "formaction", "xlink:href", "data", "poster", "srcset"}
WORDS = {"title", "aria-label", "value", "content", "alt", "download", "lang", "hreflang"}


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = []
        for name, value in sorted(attrs, key=lambda item: item[0]):
            if name in ADDRESSES:
                parts = urlsplit(value or "")
                told.append(f"{name}={parts.scheme}:{parts.netloc}")
            elif name.startswith("on") or name == "style":
                told.append(f"{name}={value}")  # what would run is told as it stands
            else:
                told.append(name)
        self.found.append(f"<{tag} {' '.join(told)}>")

    def handle_endtag(self, tag: str) -> None:
        self.found.append(f"</{tag}>")

    def handle_comment(self, data: str) -> None:
        del data
        self.found.append("<!---->")

    def handle_decl(self, decl: str) -> None:
        self.found.append(f"<!{decl.split(maxsplit=1)[0]}>")

    def handle_pi(self, data: str) -> None:
        del data
        self.found.append("<?>")

    def unknown_decl(self, data: str) -> None:
        del data
        self.found.append("<![>")


def skeleton(page: str) -> list[str]:
    """Tags with the names of their attributes, and where addresses lead, in their order."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    return parser.found
