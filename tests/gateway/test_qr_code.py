"""The code on paper and the code in a terminal are the squares of the same text."""

import re

import pytest
import segno

from joulemark_gateway.qr_code import QUIET, squares, svg, terminal

TEXT = "joulemark/collector/acme\n10423\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n"


def test_there_is_light_around_and_three_finders_inside():
    rows = squares(TEXT)
    size = len(rows)
    assert all(len(row) == size for row in rows)
    for k in range(QUIET):
        assert not any(rows[k])
        assert not any(rows[-1 - k])
        assert not any(row[k] or row[-1 - k] for row in rows)
    first, last = QUIET, size - QUIET - 7
    for y, x in ((first, first), (first, last), (last, first)):
        assert [rows[y + 3][x + k] for k in range(7)] == [
            True,
            False,
            True,
            True,
            True,
            False,
            True,
        ]


@pytest.mark.parametrize("text", [TEXT, "é\n", "x" * 400])
def test_the_drawing_and_the_lines_show_the_same_squares(text):
    rows = squares(text)
    drawn = {
        (int(y), x)
        for left, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1", svg(text, "a code"))
        for x in range(int(left), int(left) + int(width))
    }
    dark = {(y, x) for y, row in enumerate(rows) for x, is_dark in enumerate(row) if is_dark}
    assert drawn == dark
    printed = {
        (2 * y + half, x)
        for y, line in enumerate(terminal(text).splitlines())
        for x, sign in enumerate(line)
        for half in (0, 1)
        if sign == " " or sign == "▄▀"[half]
    }
    assert printed == dark


def test_the_bytes_of_the_text_are_what_is_encoded():
    made = segno.make(TEXT.encode(), error="m", micro=False, boost_error=False)
    inner = [row[QUIET:-QUIET] for row in squares(TEXT)[QUIET:-QUIET]]
    assert inner == [tuple(map(bool, row)) for row in made.matrix]
    assert squares(TEXT) == squares(TEXT)
    assert squares(TEXT) != squares(TEXT + " ")
