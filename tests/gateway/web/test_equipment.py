"""The adapter: series and records give an equipment model the same samples."""

import numpy as np
import pytest

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.equipment.readings import of_records
from joulemark_gateway.api import answers
from joulemark_gateway.equipment import analysis_of, of_series
from joulemark_gateway.evidence.history import parse_part
from support.evidence import METER, SITE, START_US
from support.pages import COMPRESSOR, DAY_US


@pytest.mark.parametrize("name", [METER, COMPRESSOR])
def test_series_and_records_give_the_same_samples(state, name):
    with state.sources() as sources, answers.opened(sources) as read:
        device = read.device(SITE, name)
        points = [point.name for point in device.profile.points]
        span_us = (0, START_US + 40 * DAY_US)
        ours = of_series(read.reader, (SITE, name), points, span_us, device.period_us)
        leaves = read.store.leaves(device.head.origin)
        tree = parse_part(leaves, 0, device.head.grant, device.head.operator_signature)
        theirs = of_records(tree.records, points, device.period_us)
    assert np.array_equal(ours.t_us, theirs.t_us)
    assert ours.t_us.size > 300
    for point in points:
        assert np.array_equal(ours.values[point], theirs.values[point], equal_nan=True)
    if name == METER:
        assert np.isnan(ours.values["power_w"]).sum() == 1, "the one out of range"


def test_mistakes_in_a_signed_section_are_told_with_their_place():
    with pytest.raises(EvidenceError, match="only_source") as caught:
        analysis_of("air_compressor", {"only_source": True}, _none())
    assert caught.value.code == "bad_document"


def test_a_kind_without_a_model_says_nothing():
    assert analysis_of("production_counter", None, _none()) is None


def _none():
    return of_records([], ["power_w"], 1_000_000)
