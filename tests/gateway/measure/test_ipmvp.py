"""What a plan states besides: option, boundary and static factors that do not contradict."""

import pytest
from pydantic import ValidationError

from joulemark_agent.contract.canonical import digest_hex
from joulemark_agent.contract.document import document_bytes, parse_yaml
from joulemark_gateway.measure.ipmvp import fits_kind
from support.histories import plan

HEAD = {
    "name": "head",
    "value": "12.5",
    "unit": "m",
    "source": "drawing 7",
    "if_changed": "adjust the baseline",
}
ESTIMATED = {**HEAD, "name": "hours", "estimated": True}
INSIDE = "The two pumps and their meter."


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"boundary": INSIDE, "static_factors": [HEAD], "responsible": "J. Kim"},
        {"option": "A", "boundary": INSIDE, "static_factors": [HEAD, ESTIMATED]},
        {"option": "B", "boundary": INSIDE, "static_factors": [HEAD]},
        {"option": "C", "boundary": "The whole site."},
    ],
)
def test_what_fits_together_is_a_plan(stated):
    found = plan(**stated)
    assert found.option == stated.get("option")
    assert [item.name for item in found.static_factors] == [
        item["name"] for item in stated.get("static_factors", [])
    ]


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"option": "D", "boundary": INSIDE}, "'A', 'B' or 'C'"),
        ({"option": "B"}, "option B needs a boundary"),
        ({"option": "A", "boundary": INSIDE, "static_factors": [HEAD]}, "key parameter"),
        ({"option": "B", "boundary": INSIDE, "static_factors": [ESTIMATED]}, "only option A"),
        ({"option": "C", "boundary": INSIDE, "static_factors": [ESTIMATED]}, "only option A"),
        ({"static_factors": [ESTIMATED]}, "only option A"),
        ({"static_factors": [HEAD, HEAD]}, "share a name"),
        ({"static_factors": [{**HEAD, "value": 0.5}]}, "binary float"),
        ({"static_factors": [{**HEAD, "value": "much"}]}, "value"),
        ({"static_factors": [{**HEAD, "source": ""}]}, "at least 1"),
        ({"static_factors": [{**HEAD, "more": 1}]}, "Extra inputs"),
        ({"boundary": ""}, "at least 1"),
    ],
)
def test_what_contradicts_itself_is_none(stated, said):
    with pytest.raises(ValidationError, match=said):
        plan(**stated)


def test_a_machine_does_not_measure_a_site_and_a_meter_may_measure_either():
    assert [fits_kind("C", kind) for kind in ("power_meter", "gas_meter", "furnace")] == [
        True, True, False,
    ]  # fmt: skip
    assert all(fits_kind(option, "furnace") for option in (None, "A", "B"))


def test_a_plan_without_these_keys_keeps_its_digest():
    """They are optional, and what is digested is what was written."""
    text = "id: pumps\nconfidence: 0.90\n"
    before = digest_hex(document_bytes(parse_yaml(text, "x").mapping))
    assert before == digest_hex(b'{"confidence":"0.9","id":"pumps"}')
