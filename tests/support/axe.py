"""What axe-core finds wrong with a page, for people who do not see it or do not use a mouse."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any

from playwright.sync_api import Page

_GRAVE = {"serious", "critical"}


@lru_cache(maxsize=1)
def _script() -> str:
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def faults(page: Page) -> list[str]:
    """The serious and critical violations: rule, what it is, and the places it was found at.

    The script is evaluated by the browser's debugger: the policy of the pages would not let it in.
    """
    page.evaluate(_script())
    return _grave(page, {"resultTypes": ["violations"]})


def faults_light_and_dark(page: Page) -> list[str]:
    """The same in both colour schemes: of all rules, contrast alone depends on the scheme."""
    page.emulate_media(color_scheme="light")
    found = faults(page)
    page.emulate_media(color_scheme="dark")
    only = {"type": "rule", "values": ["color-contrast"]}
    return found + _grave(page, {"resultTypes": ["violations"], "runOnly": only})


def _grave(page: Page, options: dict[str, Any]) -> list[str]:
    found: dict[str, Any] = page.evaluate("options => axe.run(document, options)", options)
    assert found["passes"], "axe looked at nothing"
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: "
        + "; ".join(str(node["target"]) for node in one["nodes"][:4])
        for one in found["violations"]
        if one["impact"] in _GRAVE
    ]
