"""YAML people write: exact numbers in, every mistake with its line, nothing hostile."""

from decimal import Decimal
from pathlib import Path

import pytest
import yaml

import joulemark_agent
import joulemark_profiles
from joulemark_agent.contract.document import (
    MAX_BYTES,
    MAX_VALUES,
    document_bytes,
    parse_yaml,
    validate,
)
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import Profile

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]" for i in range(8)
)


def test_fractions_are_exact_and_large_integers_survive():
    mapping = parse_yaml(
        "a: 0.1\nb: 9_007_199_254_740_993\nc: 0x10\nd: [1, yes, ~, x]\n", "f"
    ).mapping

    assert mapping == {
        "a": Decimal("0.1"), "b": 9007199254740993, "c": 16, "d": [1, True, None, "x"],
    }  # fmt: skip
    assert document_bytes(mapping) == (
        b'{"a":"0.1","b":"9007199254740993","c":16,"d":[1,true,null,"x"]}'
    )


def test_a_dates_text_stays_text():
    assert parse_yaml("from: 2018-07-01\n", "f").mapping == {"from": "2018-07-01"}


def test_spacing_and_comments_do_not_change_the_digest():
    one = parse_yaml("a: 1\nb: {c: 0.50}\n", "f").mapping
    two = parse_yaml("# why\nb:\n    c: 0.5\na:   1\n", "f").mapping

    assert document_bytes(one) == document_bytes(two)


def test_every_shipped_file_is_the_same_to_the_quick_reader():
    found = [
        path
        for package in (joulemark_profiles, joulemark_agent)
        for path in Path(package.__path__[0]).rglob("*.yaml")
    ]

    assert len(found) > 45
    for path in found:
        text = path.read_text("utf-8")
        assert parse_yaml(text, "f") == parse_yaml(text, "f", is_shipped=True), path


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (BOMB, 1, "aliases"),
        ("a: 1\nb: *x\n", 2, "aliases"),
        ("a: 1\na: 2\n", 2, "twice"),
        ("a: 1\nb: [\n", 3, "expected"),
        ("- 1\n", 1, "key: value"),
        ("", 1, "key: value"),
        ("a: !!python/object:os.system x\n", 1, "tag"),
        ("1: x\n", 1, "not text"),
        ("a: .inf\n", 1, "finite"),
        ("a: .nan\n", 1, "finite"),
        ("a: 1\nb: 1.0e+999999999\n", 2, "at most 80 digits"),
        ("a: 1.0e-999999999\n", 1, "at most 80 digits"),
        ("a: " + "1" * 5000, 1, "at most 80 digits"),
        ("a: 0x" + "f" * 5000, 1, "at most 80 digits"),
        ("a: 20:00\n", 1, "quotes"),
        ("a: 1:30.5\n", 1, "quotes"),
        ("b: 1\na: 0x_\n", 2, "quotes"),
        ("a: 010_\nb: 0b1\n", 2, "quotes"),
        ("a: " + "[" * 30 + "]" * 30, 1, "levels"),
        ("a: " + "x" * MAX_BYTES, 1, "longer"),
        ('a: "\\UFFFFFFFF"\n', 1, "no YAML"),
        ('a: "\\U00110000"\n', 1, "no YAML"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1\n", 1, "no YAML"),
        ('a: 1\nb: "\\uD800"\n', 2, "half a character"),
        ('a: 1\n"\\uDFFF": 2\n', 2, "half a character"),
        ("a: [" + "1," * MAX_VALUES + "]\n", 1, "values"),
        ("".join(f"k{i}: 1\n" for i in range(MAX_VALUES)), MAX_VALUES // 2, "values"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(text, line, words):
    with pytest.raises(ConfigError) as refusal:
        parse_yaml(text, "site.yaml")

    assert f"site.yaml:{line}:" in str(refusal.value)
    assert words in str(refusal.value)


def test_the_bomb_is_real():
    """The control, a plain loader, builds the whole tree: 9^9 leaves behind 300 bytes."""
    loaded = yaml.safe_load(BOMB)

    assert len(BOMB) < 600
    assert loaded["i"][0][0][0][0][0][0][0][0][0] == "x"


def test_every_mistake_of_a_profile_is_named_with_its_line():
    text = (
        "model: m\nkind: toaster\nprotocol: modbus\nsource: somewhere in a manual\n"
        "confidence: bench\npoints:\n"
        "  - {name: power, table: holding, address: 0, type: uint16}\n"
        "  - {name: energy_wh, table: holding, address: 70000, type: uint16, colour: red}\n"
        "golden:\n  - {point: energy_wh, words: [0], value: 0}\n"
    )
    with pytest.raises(ConfigError) as refusal:
        validate(Profile, parse_yaml(text, "m.yaml"))

    said = str(refusal.value)
    assert "m.yaml:2: kind" in said
    assert "m.yaml:7:" in said
    assert "unit" in said
    assert "m.yaml:8: points.1.colour" in said
    assert "70000" in said
    assert "m.yaml:6: points" in said
    assert "5 mistake(s)" in said
