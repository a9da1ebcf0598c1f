"""`joulemark fleet measure`, as a plant engineer runs it."""

import json
import subprocess
import sys

import pytest

from joulemark_agent.cli import main
from joulemark_gateway.fleet.command import batches
from support.fleets import building, fleet, meter_of, write

pytest.importorskip("pyarrow", reason="the extra [fleet] is not installed")

METERS = dict(reversed(fleet(6).items()))


def measure(plan_file, out, *more):
    path = write(plan_file.parent / "meters.parquet", METERS)
    words = ["--plan", str(plan_file), "--data", str(path), "--out", str(out), *more]
    return main(["fleet", "measure", *words])


def test_the_results_stand_in_the_order_of_the_meters(plan_file, tmp_path, capsys):
    assert measure(plan_file, tmp_path / "out") == 0
    lines = (tmp_path / "out/savings.jsonl").read_text().splitlines()
    assert [json.loads(line)["meter"] for line in lines] == sorted(METERS)
    assert "6 meters: 6 with a saving, 0 refused" in capsys.readouterr().out


@pytest.mark.endurance
def test_two_workers_write_the_same_files(plan_file, tmp_path):
    assert measure(plan_file, tmp_path / "one") == 0
    assert measure(plan_file, tmp_path / "two", "--workers", "2") == 0
    for name in ("savings.jsonl", "savings.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_fleet_without_any_saving_is_1_and_says_why(plan_file, tmp_path, capsys):
    short = {name: data.where(data.position % 2 > 0) for name, data in METERS.items()}
    path = write(tmp_path / "short.parquet", short)
    words = ["--plan", str(plan_file), "--data", str(path), "--out", str(tmp_path / "out")]
    assert main(["fleet", "measure", *words]) == 1
    told = capsys.readouterr().out
    assert "0 with a saving, 6 refused" in told
    assert "6 x too_few_valid_days" in told


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--workers", "0"], "--workers is 0"),
        (["--scheduler", "tcp://fleet.example:1"], "another machine without TLS"),
        (["--scheduler", "tls://fleet.example:1", "--tls-ca", "x"], "Only some of the files"),
    ],
)
def test_wrong_use_is_2_with_what_to_do(plan_file, tmp_path, capsys, more, told):
    assert measure(plan_file, tmp_path / "out", *more) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("package", ["pyarrow", "distributed"])
def test_a_missing_extra_is_named(plan_file, tmp_path, package):
    path = write(tmp_path / "meters.parquet", METERS)
    words = ["fleet", "measure", "--plan", plan_file, "--data", path, "--out", tmp_path / "out"]
    code = (
        "import sys; from joulemark_agent.cli import main\n"
        f"sys.modules[{package!r}] = None\n"
        f"sys.exit(main({[*map(str, words), '--workers', '2']}))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert process.returncode == 2
    assert f"needs the package '{package}" in process.stderr
    assert "pip install 'joulemark[fleet]'" in process.stderr


def test_a_batch_ends_when_it_has_units_enough():
    meters = [meter_of(str(seed), building(seed)) for seed in range(5)]
    sizes = [len(batch) for batch in batches(iter(meters), units=2 * 730)]
    assert sizes == [2, 2, 1]
    assert [len(batch) for batch in batches(iter(meters), units=1)] == [1] * 5


def test_adding_the_command_imports_nothing_heavy():
    code = (
        "import argparse, sys; from joulemark_gateway.fleet.command import add_command\n"
        "add_command(argparse.ArgumentParser().add_subparsers())\n"
        "assert not {'numpy', 'numba', 'pyarrow', 'dask'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
