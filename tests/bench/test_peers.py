"""Daily models beside opendsm's, in one run: printed, and nothing is asserted about time.

Skipped where the peer's environment is not there; `JOULEMARK_PEERS=1` makes it. The whole
comparison is `python -m tests.nightly peers`.
"""

import sys

import pytest

from nightly import peers

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]


def test_daily_models_beside_the_peers_in_one_run(plant_data):
    assert plant_data.is_dir()
    for what, figure in peers.run(1, full=False).items():
        sys.stdout.write(f"{what}: {figure}\n")
