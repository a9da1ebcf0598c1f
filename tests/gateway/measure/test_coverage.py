import sys

import pytest

from nightly import coverage


@pytest.mark.endurance
def test_nine_of_ten_intervals_hold_the_truth_whatever_the_memory_of_the_residuals():
    figures = coverage.run(1, full=False)
    sys.stdout.write("\n" + "".join(f"  {what}: {figure}\n" for what, figure in figures.items()))
