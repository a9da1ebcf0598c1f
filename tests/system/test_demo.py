"""`joulemark demo` as a person sees it: stages, files, a verdict; only the report is served."""

import functools
import http.client
import http.server
import json
import subprocess
import sys
import threading

import pytest

from joulemark_gateway.demo.command import _ReportFiles

pytestmark = pytest.mark.timeout(420)

STAGES = ("prepare", "start factory", "read, sign, send", "stop", "measure and report", "verify")


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


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/report.html", 200),
        ("/bundle.zip", 200),
        ("/run/keys/operator.key", 404),
        ("/../run/keys/operator.key", 404),
        ("/report.html/../run/site/site.yaml", 404),
        ("/%72un/keys/operator.key", 404),
    ],
)
def test_only_the_report_is_served(demo, path, status):
    handler = functools.partial(_ReportFiles, directory=str(out_of(demo)))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        server.shutdown()
        thread.join()

    assert answer.status == status
