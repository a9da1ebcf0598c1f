"""Lists page after page: together they are the whole, whatever is added meanwhile."""

import pytest

from joulemark_gateway.api.cursors import cursor_of, page_of, parse_cursor
from joulemark_gateway.api.problems import Problem
from support.evidence import SITE

DEVICES = f"/api/v1/sites/{SITE}/devices"


@pytest.mark.parametrize(
    ("url", "rows"),
    [(DEVICES, "devices"), ("/api/v1/sites", "sites"), ("/api/v1/projects", "projects")],
)
async def test_pages_of_one_are_the_whole(client, url, rows):
    whole = (await client.get(url)).json()
    found, cursor = [], ""
    assert whole["next_cursor"] is None
    while cursor is not None:
        asked = {"limit": 1, **({"cursor": cursor} if cursor else {})}
        page = (await client.get(url, params=asked)).json()
        assert len(page[rows]) == 1
        found += page[rows]
        cursor = page["next_cursor"]
    assert found == whole[rows]
    assert [row["id"] for row in found] == sorted(row["id"] for row in found)


@pytest.mark.parametrize("limit", range(1, 12))
def test_what_is_added_or_taken_away_meanwhile_shifts_nothing(limit):
    items = {f"n{k:02}": k for k in range(0, 20, 2)}
    found, cursor, number = [], None, 0
    while True:
        rows, cursor = page_of(items, "numbers", cursor, limit)
        found += rows
        items[f"n{number:02}a"] = 100 + number  # before what was given already, and after
        items[f"n{19 - number:02}"] = 19 - number
        number += 1
        if cursor is None:
            break
    given = [k for k in found if k < 100]
    assert given == sorted(set(given))
    assert set(range(0, 20, 2)) <= set(given)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "\x00",
        "e30",
        "W10",
        "bnVsbA",
        "é",
        cursor_of("others", after="a"),
        cursor_of("numbers", after=5),
        cursor_of("numbers", after="a", more=1),
    ],
)
def test_what_is_no_cursor_of_this_list_is_refused(text):
    with pytest.raises(Problem) as refused:
        parse_cursor(text, "numbers", {"after": str})
    assert (refused.value.status, refused.value.code) == (422, "bad_cursor")


def test_a_cursor_is_what_was_made():
    assert parse_cursor(cursor_of("n", after="é", at=5), "n", {"after": str, "at": int}) == {
        "after": "é",
        "at": 5,
    }
