"""The page of all settings is what its script makes, and the script knows every key there is."""

from __future__ import annotations

import pytest

from joulemark_agent.site_sections import UplinkSettings
from support.scripts import ROOT, script


def test_the_page_of_settings_is_what_its_script_makes() -> None:
    made = script("make_settings_page").page()
    assert (ROOT / "docs/settings.md").read_text("utf-8") == made, (
        "run: python docs/scripts/make_settings_page.py"
    )
    assert "| `devices[].period_s` | **must** | 1 to 86400 s |" in made
    assert "| `pages.login` | `true` | true or false |" in made


def test_control_a_key_that_the_script_does_not_know_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields = {**UplinkSettings.model_fields, "new_key": UplinkSettings.model_fields["username"]}
    monkeypatch.setattr(UplinkSettings, "__pydantic_fields__", fields)
    with pytest.raises(AssertionError, match=r"uplink\.new_key"):
        script("make_settings_page").page()
