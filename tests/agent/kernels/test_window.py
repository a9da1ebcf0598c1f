import pytest

from joulemark_agent.kernels.window import aligned_edges_us


def test_the_edges_hold_the_span_with_the_fewest_windows():
    assert aligned_edges_us(1_000, 2_500, 1_000).tolist() == [1_000, 2_000, 3_000]
    assert aligned_edges_us(999, 2_000, 1_000).tolist() == [0, 1_000, 2_000]
    assert aligned_edges_us(-1, 1, 1_000).tolist() == [-1_000, 0, 1_000]


def test_a_point_on_the_grid_needs_no_window():
    assert aligned_edges_us(2_000, 2_000, 1_000).tolist() == [2_000]


@pytest.mark.parametrize(("first", "last", "width"), [(5, 4, 1), (0, 1, 0), (0, 1, -3)])
def test_a_span_or_width_that_makes_no_sense_is_refused(first, last, width):
    with pytest.raises(ValueError, match="no windows"):
        aligned_edges_us(first, last, width)
