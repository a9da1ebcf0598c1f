"""The short forms of the endurance checks: the same code that runs for hours, with fewer rounds.

Each prints its counts (`-s` shows them) and holds its own naive control, which must fail.
"""

import sys

import pytest

from nightly import (
    bit_flips,
    clocks,
    gaps,
    kills,
    network,
    power_cuts,
    recovery,
    replays,
    several_collectors,
)
from support.postgres import programs

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(600)]


def show(figures: dict[str, str]) -> None:
    sys.stdout.write("\n" + "".join(f"  {what}: {figure}\n" for what, figure in figures.items()))


@pytest.mark.service
@pytest.mark.usefixtures("mosquitto")
def test_a_hundred_kills_lose_nothing_double_nothing_and_change_nothing():
    show(kills.run(1, full=False))


@pytest.mark.service
def test_forty_power_cuts_lose_no_row_that_was_acknowledged():
    show(power_cuts.run(1, full=False))


@pytest.mark.service
@pytest.mark.usefixtures("mosquitto")
def test_bad_networks_lose_nothing_and_a_dead_peer_is_found_out():
    show(network.run(1, full=False))


def test_data_flow_within_five_seconds_of_the_return_of_any_part():
    show(recovery.run(1, full=False))


def test_sequences_of_batches_that_come_again_end_with_one_ledger():
    show(replays.run(1, full=False))


@pytest.mark.service
def test_every_slot_that_is_taken_away_is_a_gap_with_its_cause():
    show(gaps.run(1, full=False))


@pytest.mark.service
def test_clocks_that_are_set_lose_no_energy_and_every_doubt_is_told():
    show(clocks.run(1, full=False))


@pytest.mark.service
def test_no_flipped_bit_of_a_whole_bundle_goes_unnoticed():
    show(bit_flips.run(1, full=False))


@pytest.mark.service
@pytest.mark.usefixtures("mosquitto")
def test_two_collectors_of_which_one_is_killed_hold_what_one_alone_would():
    programs()
    show(several_collectors.run(1, full=False))
