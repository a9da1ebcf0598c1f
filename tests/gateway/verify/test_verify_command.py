"""`joulemark verify`: what it prints, what it returns, what it does without."""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.verify import command
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import verify
from support.bundles import CLAIMS, Recipe, policy, policy_mapping, true_bundle, true_report
from support.evidence import FOREIGN, KEYS

ROOT = Path(__file__).parents[3]
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("agent", "gateway", "configs"))


@pytest.fixture
def folder(tmp_path):
    """A folder that holds a bundle and a policy and nothing else."""
    (tmp_path / "bundle.zip").write_bytes(true_bundle())
    (tmp_path / "policy.json").write_bytes(canonical_bytes(policy_mapping()))
    return tmp_path


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_command(parser.add_subparsers())
    args = parser.parse_args(["verify", *map(str, words)])
    return args.run(args)


def test_under_the_policy_it_says_verified_and_simulated(folder, capsys):
    assert run(folder / "bundle.zip", "--policy", folder / "policy.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["verified", "valid, simulated"]
    head = true_report().report["headline"]
    assert any(head["avoided_kwh"] in line and "policy iso50006" in line for line in lines)
    assert any("% measured" in line for line in lines)


def test_without_a_policy_the_first_line_says_that_signers_were_not_checked(folder, capsys):
    assert run(folder / "bundle.zip") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["consistent; signers not checked", "simulated"]
    assert not any(line.startswith(("valid", "verified", "trusted")) for line in lines)
    for role, fingerprint in policy().fingerprints():
        assert f"claimed key, {role}: {fingerprint}" in lines


def test_json_is_one_document_that_says_the_same(folder, capsys):
    assert run(folder / "bundle.zip", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["verdict"], told["exit"]) == ("verified", "valid, simulated", 0)
    assert (told["signers"], told["simulated"], told["findings"]) == ("unchecked", True, [])
    assert len(told["keys"]) == 4
    assert told["counts"]["records"] == 1536
    assert run(folder / "bundle.zip", "--json", "--policy", folder / "policy.json") == 0
    assert json.loads(capsys.readouterr().out)["signers"] == "checked"


def test_a_forged_bundle_exits_1_and_each_finding_has_its_code(folder, capsys):
    forged = Recipe(reporter=FOREIGN).make()
    (folder / "bundle.zip").write_bytes(forged)
    assert run(folder / "bundle.zip", "--policy", folder / "policy.json") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "refuted"
    assert lines[1].startswith("statement_signature: ")
    assert "avoided" not in "".join(lines), "no figure of a refuted report is shown"
    assert run(folder / "bundle.zip", "--policy", folder / "policy.json", "--json") == 1
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["code"], finding["layer"]) == ("statement_signature", "signers")


def test_an_inconsistent_bundle_exits_1_without_a_policy_too(folder, capsys):
    members = Recipe().made_members()
    (folder / "bundle.zip").write_bytes(container_bytes({**members, "readme.txt": b""}))
    assert run(folder / "bundle.zip") == 1
    assert capsys.readouterr().out.splitlines()[0] == "refuted; signers not checked"


@pytest.mark.parametrize("data", [b"", b"PK", b"no bundle", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_bundle_exits_2(folder, data, capsys):
    (folder / "bundle.zip").write_bytes(data)
    assert run(folder / "bundle.zip", "--policy", folder / "policy.json") == 2
    assert capsys.readouterr().out.startswith("undecidable\nbad_container: ")


def test_a_bundle_of_a_later_format_exits_2(folder, capsys):
    manifest = canonical_bytes({"files": {}, "format": "joulemark-bundle/3"})
    (folder / "bundle.zip").write_bytes(container_bytes({"manifest.json": manifest}))
    assert run(folder / "bundle.zip") == 2
    assert "joulemark-bundle/2" in capsys.readouterr().out


def test_a_zip_without_a_manifest_exits_2(folder, capsys):
    (folder / "bundle.zip").write_bytes(container_bytes({"readme.txt": b""}))
    assert run(folder / "bundle.zip") == 2
    assert "not_a_bundle" in capsys.readouterr().out


def test_a_missing_file_and_a_bad_policy_are_wrong_use(folder):
    with pytest.raises(ConfigError, match=r"none\.zip cannot be read"):
        run(folder / "none.zip")
    (folder / "policy.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a policy"):
        run(folder / "bundle.zip", "--policy", folder / "policy.json")


def test_figures_of_another_version_are_undecidable_unless_something_else_is_wrong():
    edited = replace(true_report(), report_json=b"{}")
    other = replace(CLAIMS, software_version="9.9.9")

    def claim(predicate):
        return {**predicate, "software": {**predicate["software"], "version": "9.9.9"}}

    assert verify(Recipe(claims=other).make(), policy()).exit_code == 0, "the figures are equal"
    elsewhere = Recipe(issued=edited, predicate=claim)
    assert verify(elsewhere.make(), policy()).exit_code == 2
    assert verify(replace(elsewhere, reporter=FOREIGN).make(), policy()).exit_code == 1


def test_two_of_two_witnesses_are_not_one_of_two():
    mapping = policy_mapping()
    second = {"name": "secretariat", "key": policy_mapping(FOREIGN)["witnesses"][0]["key"]}
    mapping["witnesses"].append(second)
    parsed = policy_of({**mapping, "quorum": 1})
    assert verify(true_bundle(), parsed).exit_code == 0
    verdict = verify(true_bundle(), policy_of({**mapping, "quorum": 2}))
    assert {finding.code for finding in verdict.findings} == {"cosignature_missing"}


BASE_ONLY = """
import importlib.abc, socket, sys
class Blocked(importlib.abc.MetaPathFinder):
    names = {"yaml", "jinja2", "paho", "duckdb", "moat", "pydantic_settings", "pymodbus", "scipy"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is not in the base install", name=name)
sys.meta_path.insert(0, Blocked())
def denied(*args, **kwargs):
    raise AssertionError("a socket was opened")
class Denied(socket.socket):  # a class: modules of the library derive from it when imported
    __init__ = denied
socket.socket, socket.create_connection, socket.getaddrinfo = Denied, denied, denied
from argparse import ArgumentParser
from joulemark_gateway.verify import command
parser = ArgumentParser()
command.add_command(parser.add_subparsers())
args = parser.parse_args(["verify", "bundle.zip", "--policy", "policy.json", "--json"])
sys.exit(args.run(args))
"""


def in_a_process(folder, source, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": SOURCES, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("disabled", ["0", "1"])
def test_it_works_in_a_strange_folder_on_the_base_install_compiled_or_not(folder, disabled):
    """Without network; and the report printed here must come out of both, byte by byte."""
    source = f"import numba; assert numba.config.DISABLE_JIT == {disabled}\n{BASE_ONLY}"
    done = in_a_process(folder, source, NUMBA_DISABLE_JIT=disabled)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["verdict"] == "valid, simulated"
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.zip", "policy.json"]


def test_the_block_on_other_packages_and_on_sockets_bites(folder):
    """The control: what is blocked above cannot be used."""
    head = BASE_ONLY.partition("from argparse")[0]
    for line in ("import yaml", "import duckdb", "socket.socket()"):
        assert in_a_process(folder, head + line).returncode == 1


def test_adding_the_command_imports_nothing_heavy(folder):
    source = """
import sys
from joulemark_gateway.verify import command
from joulemark_gateway.reports import command as reports
print(sorted({"numba", "numpy", "pydantic", "yaml"} & set(sys.modules)))
"""
    assert in_a_process(folder, source).stdout == "[]\n"


def test_keys_of_the_true_owner_are_no_secret_of_the_bundle():
    """No private key may stand in a bundle."""
    data = b"".join(Recipe().made_members().values())
    for key in (KEYS.agent, KEYS.operator, KEYS.witness, KEYS.reporter):
        assert key not in data
        assert key.hex().encode() not in data
