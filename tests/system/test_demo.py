"""`joulemark demo` as a person sees it: stages, files, a verdict, and pages."""

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(420)]

STAGES = (
    "prepare",
    "start factories",
    "read, sign, send",
    "measure and report",
    "verify",
    "what the machines",
)


def joulemark(*words, cwd=None):
    command = [sys.executable, "-m", "joulemark_agent.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def out_of(demo):
    return demo.folder.parent


def test_it_prints_the_wall_time_of_every_stage(demo):
    table = demo.output.partition("wall time by stage")[2].splitlines()

    assert all(any(row.strip().startswith(stage) for row in table) for stage in STAGES)
    assert any(row.strip().startswith("total") for row in table)


def test_it_ends_with_a_verified_bundle_and_says_that_it_is_a_replay(demo):
    assert "verified" in demo.output
    assert "valid, simulated" in demo.output
    assert "Synthetic" in demo.output


def test_the_bundle_is_verified_again_in_an_empty_folder(demo, tmp_path):
    out = out_of(demo)
    done = joulemark(
        "verify", out / "bundle.zip", "--policy", out / "policy.json", "--json", cwd=tmp_path
    )
    verdict = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    assert verdict["status"] == "verified"
    assert verdict["verdict"] == "valid, simulated"
    assert verdict["signers"] == "checked"
    assert not list(tmp_path.iterdir())


def test_a_bundle_with_one_changed_bit_is_never_verified(demo, tmp_path):
    out = out_of(demo)
    damaged = bytearray((out / "bundle.zip").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "bundle.zip").write_bytes(damaged)
    done = joulemark("verify", tmp_path / "bundle.zip", "--policy", out / "policy.json")

    assert done.returncode in {1, 2}
    assert not done.stdout.startswith("verified")


def test_a_folder_that_holds_a_demo_is_not_written_over(demo):
    done = joulemark("demo", "--no-serve", "--out", out_of(demo))

    assert done.returncode == 2
    assert "already holds a demo" in done.stderr
    assert "--out" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def pages(demo):
    """The collector of the demo, started alone as a person would: where its pages are."""
    command = [sys.executable, "-m", "joulemark_agent.cli", "collector", "run", "-c"]
    file = demo.folder / "collector" / "collector.yaml"
    port = re.search(r"port: (\d+)", file.read_text("utf-8"))
    assert port is not None
    with subprocess.Popen([*command, str(file)], stderr=subprocess.PIPE) as process:
        wait_for_port(int(port[1]), process)
        yield int(port[1])
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said.decode()
    assert b"Traceback" not in said


def wait_for_port(port, process):
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise AssertionError(f"the collector ended with {process.returncode}")


def answer_of(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/sites/gwangyang", 200),
        ("/sites/equipment-hall", 200),
        ("/sites/equipment-hall/devices/furnace", 200),
        ("/run/keys/operator.key", 404),
        ("/../run/keys/operator.key", 404),
        ("/%72un/keys/operator.key", 404),
        ("/sites/../run/site/site.yaml", 404),
        ("/sites/nowhere", 404),
    ],
)
def test_the_pages_show_the_sites_and_nothing_else_of_the_disk(pages, path, status):
    assert answer_of(pages, path)[0] == status


def test_the_pages_say_what_is_synthetic_and_what_is_replayed(pages):
    _, furnace = answer_of(pages, "/sites/equipment-hall/devices/furnace?lang=en")
    _, site = answer_of(pages, "/sites/gwangyang?lang=en")

    assert b"ynthetic" in furnace
    assert b"imulated" in site
