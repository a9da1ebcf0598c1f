"""A real browser over the pages, the same for every walk through them."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
LOCAL = "http://127.0.0.1:"


class Watched:
    """What a page said and asked for while somebody walked through it."""

    def __init__(self, page: Page) -> None:
        self.told: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.told.append(str(error)))
        page.on("request", lambda sent: self.asked.append(sent.url))

    def _console(self, kind: str, text: str) -> None:
        if kind == "error":
            self.told.append(text)

    def require_clean(self) -> None:
        """Nothing went wrong, and nothing was asked of anybody else."""
        assert not self.told
        assert self.asked
        assert not [url for url in self.asked if not url.startswith(LOCAL)]


def follow(link: Locator) -> None:
    """Click, and go on when the next page is there whole."""
    with link.page.expect_navigation():
        link.click()
    fits(link.page)


def fits(page: Page) -> None:
    """Nothing is wider than the window, and the page has one heading and one main part."""
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").count() == 1
    assert page.locator("main").count() == 1
