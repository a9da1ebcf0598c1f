"""What gives way as a disk fills, and that a reserve is really there."""

from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.room import MARKS, THIN_US, Level, Reserve, level_of, thinned_us
from support.disk import mounted


def test_things_give_way_in_their_order():
    found = [level_of(used, 100, Level.NOTHING) for used in (0, 69, 70, 84, 85, 94, 95, 100, 120)]
    assert found == [0, 0, 1, 1, 2, 2, 3, 3, 3]
    assert level_of(1, 0, Level.NOTHING) == Level.EVERYTHING


@given(st.lists(st.integers(0, 110), min_size=2, max_size=60))
def test_what_came_back_stays_while_the_use_stays_within_three_percent(uses):
    level = Level.NOTHING
    for used in uses:
        new = level_of(used, 100, level)
        if new < level:
            assert used < 100 * MARKS[level - 1] - 2.9
        if new > level:
            assert used >= 100 * MARKS[new - 1]
        assert level_of(used, 100, new) == new, "it does not come and go"
        level = new


@given(slot=st.integers(1, 10**6), period_s=st.integers(1, 600))
def test_a_thinned_slot_is_on_the_grid_and_at_most_about_a_minute_away(slot, period_s):
    period_us = period_s * 1_000_000
    found = thinned_us(slot * period_us, period_us)
    assert found % period_us == 0
    assert 0 <= found - slot * period_us < max(THIN_US + period_us, period_us)
    assert thinned_us(found, period_us) == found


def test_a_period_of_a_minute_and_more_is_not_thinned():
    assert thinned_us(7 * THIN_US, THIN_US) == 7 * THIN_US
    assert thinned_us(13 * 900_000_000, 900_000_000) == 13 * 900_000_000


def fill(disk: Path) -> None:
    """Take all that is left of a disk."""
    with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_the_reserve_is_room_that_others_cannot_have(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "2m"):
        reserve = Reserve(disk / "reserve")
        assert reserve.hold(2 * 1024 * 1024)
        size = reserve.size(2 * 1024 * 1024)
        fill(disk)
        reserve.release()
        (disk / "last words").write_bytes(bytes(size - 8192))
        assert not reserve.hold(2 * 1024 * 1024), "there is no room for it"
        assert not reserve.is_held
        (disk / "ballast").unlink()
        assert reserve.hold(2 * 1024 * 1024)
