"""Killed between raising and delivering, again and again: nothing is lost, ids tell duplicates."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from joulemark_gateway.alerts.store import AlertStore
from support.receivers import http_receiver

pytestmark = [pytest.mark.service, pytest.mark.endurance]
KILLS, ALERTS = 4, 40


def killed_again_and_again(how, path, taken):
    """Run it until it ends by itself, after so many kills while notices were on their way."""
    draw = random.Random(7)
    command = [sys.executable, "-m", "support.alerting", how, str(path), taken.url, str(ALERTS)]
    places = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": places}
    for _ in range(KILLS):
        process = subprocess.Popen(command, env=environment)
        more = len(taken.requests) + draw.randint(1, 6)
        while len(taken.requests) < more and process.poll() is None:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, env=environment, timeout=120, check=False).returncode == 0


def test_nothing_is_lost_and_duplicates_have_the_same_id(tmp_path):
    path = tmp_path / "alerts.sqlite"
    with http_receiver() as taken:
        taken.wait_s = 0.005  # a kill finds notices that were taken and not yet noted as such
        killed_again_and_again("durable", path, taken)
    told = {json.loads(body)["subject"] for _, body in taken.requests}
    assert told == {f"edge-{k}" for k in range(ALERTS)}
    assert len(set(taken.ids)) == ALERTS, "a duplicate bears the id of the first"
    with AlertStore(path) as store:
        assert len(store.alerts(["raised"], 1000)) == ALERTS
        assert store.waiting() == []


def test_what_is_remembered_in_memory_is_lost(tmp_path):
    with http_receiver() as taken:
        killed_again_and_again("naive", tmp_path / "raised.json", taken)
    assert len(set(taken.ids)) < ALERTS
