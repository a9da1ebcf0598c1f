"""What a stranger may write (tests/data/injections.json), in every place that takes a text of his.

Pages and the HTTP API have the same texts in tests of their own.
"""

import csv
import io
import json
import logging
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from pypdf import PdfReader

from joulemark_agent import identification
from joulemark_agent.contract.document import document_bytes, parse_yaml
from joulemark_agent.contract.errors import ConfigError, DeviceError, EvidenceError, StoreError
from joulemark_agent.contract.profile import NodePoint
from joulemark_agent.contract.reading import Response
from joulemark_agent.contract.topics import (
    batch_topic,
    is_id,
    parse_origin,
    parse_topic,
    require_id,
)
from joulemark_agent.documents import checked_profile
from joulemark_agent.kernels.datavalue import DataValue, encode
from joulemark_agent.log import printable, start_logging
from joulemark_agent.opcua_proposal import Leaf, proposals
from joulemark_agent.scan_profile import sunspec_profile
from joulemark_agent.settings import load_site
from joulemark_gateway.api.series_files import csv_of
from joulemark_gateway.api.series_rows import Column, Table
from joulemark_gateway.evidence.container import container_bytes, read_container
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.reports.html import page
from joulemark_gateway.reports.pdf import pdf
from joulemark_gateway.series.influxql import _where
from joulemark_gateway.series.lines import checked, tag
from joulemark_gateway.series.victoriametrics import _labels
from support import fleet
from support.bundles import true_report
from support.evidence import AGENT, METER
from support.injections import BOMBS, payloads
from support.intakes import new_intake
from support.references import ROOT

TEXTS = [one.text for one in payloads()]
# What is UTF-8 when it arrives, or is in a document that was read: no halves of characters.
WHOLE = [text for text in TEXTS if not any("\ud800" <= letter <= "\udfff" for letter in text)]
SOME = [TEXTS[::3], pytest.param(TEXTS, marks=pytest.mark.endurance)]  # where each takes long
SOME_WHOLE = [WHOLE[::3], pytest.param(WHOLE, marks=pytest.mark.endurance)]
ACTIONS = (b"/JavaScript", b"/Launch", b"/OpenAction", b"/AA ")  # of a PDF
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # and their full-width forms
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_there_are_texts_enough_of_every_kind_and_each_has_its_reason():
    everything = [*payloads(), *payloads(*BOMBS)]
    kinds = Counter(one.kind for one in everything)

    assert len({one.text for one in payloads()}) >= 200
    assert all(one.why for one in everything)
    assert set(kinds) == {
        "mqtt_topic", "csv_formula", "html", "html_attribute", "javascript", "path", "sql",
        "series", "log", "yaml_bomb", "json_bomb", "zip_bomb", "header", "ssrf", "typst",
        "format", "unicode",
    }  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_becomes_a_name_in_a_topic_an_origin_or_a_path(text):
    if is_id(text):
        assert set(text) <= LETTERS, "an id is letters, digits and hyphens"
        return
    with pytest.raises(ConfigError) as refused:
        require_id(text, "device")
    assert len(str(refused.value)) < 600
    for topic in (f"joulemark/v1/up/{text}/{METER}/batch", f"joulemark/v1/up/{AGENT}/{text}/batch"):
        with pytest.raises(EvidenceError):
            parse_topic(topic)
    with pytest.raises(EvidenceError):
        parse_origin(f"joulemark/{text}/{METER}/1")


def test_a_collector_keeps_what_it_refuses_and_its_store_stays_as_it_is(tmp_path):
    path = tmp_path / "state" / FILE
    intake = new_intake(path)
    for text in TEXTS:
        for topic in (text, batch_topic(AGENT, text), batch_topic(text, METER)):
            answer = intake.take(topic, text.encode(errors="surrogatepass"))
            assert answer is None or parse_topic(answer.topic)[3] == "refusal"
    intake.close()

    with SqliteStore(path, create=False) as store:
        assert store.heads() == []
        assert sum(row.messages for row in store.quarantined()) == 3 * len(TEXTS)
    names = {found.name.partition("-")[0] for found in tmp_path.rglob("*")}
    assert names <= {"state", FILE, f"{FILE}.lock"}, "nothing was written beside it"


def _written(text: str) -> str:
    return json.dumps(text)  # which YAML reads as well


@pytest.mark.endurance
def test_a_site_file_with_such_texts_is_refused_or_says_just_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(fleet.PROFILE)
    row = "  - {{id: {0}, profile: {0}, url: {0}, unit: 1, period_s: 1}}\n"
    path = tmp_path / "site.yaml"
    for text in TEXTS:
        word = _written(text)
        everywhere = fleet.SITE.replace("edge-1", word).replace("hall", word).replace("UTC", word)
        path.write_text(everywhere + row.format(word), errors="surrogatepass")
        with pytest.raises(ConfigError) as refused:
            load_site(path)
        told = printable(str(refused.value))
        assert all(line.isprintable() for line in told.split("\n"))
        assert len(told) < 8000
    assert {found.name for found in tmp_path.iterdir()} == {"small.yaml", "site.yaml"}


@pytest.mark.parametrize("texts", SOME, ids=len)
def test_a_profile_with_such_texts_is_refused_or_kept_as_text(texts):
    for text in texts:
        mapping = fleet.PROFILE.replace("made up for a test", _written(f"a source: {text}"))
        try:
            profile, document = checked_profile(parse_yaml(mapping, "profile.yaml"))
        except ConfigError:
            continue
        assert profile.source == f"a source: {text}"
        assert json.loads(document)["source"] == profile.source
        for field in ("model: small", "a_w"):
            wrong = fleet.PROFILE.replace(field, f"{field.partition(' ')[0]}{_written(text)}")
            with pytest.raises(ConfigError):
                checked_profile(parse_yaml(wrong, "profile.yaml"))


def test_what_a_device_calls_itself_is_shown_as_one_line():
    for text in TEXTS:
        for coding in ("utf-8", "utf-16-le", "latin-1"):
            shown = identification.text(text.encode(coding, errors="replace"))
            assert shown.isascii()
            assert shown.isprintable()


@pytest.mark.parametrize("texts", SOME_WHOLE, ids=len)
def test_what_an_opc_ua_server_calls_its_variables_stays_a_comment(texts):
    value = encode(DataValue("float64", bytes(8)))
    for text in texts:
        leaf = Leaf("nsu=urn:x;s=y", (text, text), text, "float64", value)
        [found] = proposals([leaf], f"opc.tcp://{text}")
        profile, _ = checked_profile(parse_yaml(found.profile, "proposal.yaml"))

        [point] = profile.points
        assert isinstance(point, NodePoint)
        assert point.node == "nsu=urn:x;s=y"
        assert all(line.isprintable() for line in found.profile.split("\n"))


def test_a_line_of_the_series_means_one_row_of_one_site():
    for text in TEXTS:
        try:
            line = checked(f"joulemark_point,site=hall,point={tag(text)} value=1 1")
        except StoreError:
            continue
        assert _parsed(line) == ({"site": "hall", "point": text}, "value=1", "1")


def _parsed(line: str) -> tuple[dict[str, str], str, str]:
    """A line as the protocol's description reads it."""
    parts, escaped = [[""]], False
    for letter in line:
        if escaped:
            parts[-1][-1] += letter
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == " ":
            parts.append([""])
        elif letter == "," and len(parts) == 1:
            parts[-1].append("")
        elif letter == "=" and len(parts) == 1:
            parts[-1][-1] += "\0"
        else:
            parts[-1][-1] += letter
    (_, *tags), [fields], [time] = parts
    return dict(one.split("\0") for one in tags), fields, time


def test_a_question_to_the_series_has_one_site_and_ends_where_it_should():
    for text in TEXTS:
        try:
            where = _where(site="hall", point=text)
        except StoreError:
            continue
        assert where.count("'") == 4
        assert "\\" not in where
        labels = _labels(site="hall", point=text)
        assert json.loads(labels[labels.index("point=") + 6 : -1]) == text


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_log_line_is_one_line_whatever_its_fields_hold(is_terminal):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal  # type: ignore[method-assign]
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    try:
        start_logging(stream)
        for text in TEXTS:
            logging.getLogger("x").warning("device_down", extra={"device": text, "what": text})
            logging.getLogger("x").warning("said %s", text)
    finally:
        root.handlers, root.level = handlers, level
    lines = stream.getvalue().split("\n")

    assert len(lines) == 2 * len(TEXTS) + 1
    assert all(line.isprintable() for line in lines)
    if not is_terminal:
        assert [json.loads(line)["device"] for line in lines[:-1:2]] == TEXTS


def test_a_member_of_a_bundle_has_a_plain_name_inside_it():
    for text in TEXTS:
        try:
            members = read_container(container_bytes({text: b"x"}))
        except EvidenceError:
            continue
        [name] = members
        path = Path(name)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert name.isascii()
        assert name.isprintable()


def _zip(*names: str, mode: int = 0o100644) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the same name twice
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"/etc/passwd")
    return made.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        _zip("../../etc/passwd"),
        _zip("link", mode=0o120777),
        _zip("report.json", "report.json"),
        _zip("a/b", "a"),
        _zip("folder/"),
        b"#!/bin/sh\n" + _zip("report.json"),
        _zip("report.json") + b"x",
    ],
    ids=["slip", "symlink", "twice", "inside a file", "folder", "before it", "after it"],
)
def test_a_zip_file_that_is_no_bundle_of_ours_is_refused(data):
    with pytest.raises(EvidenceError):
        read_container(data)


def test_a_file_that_a_spreadsheet_would_compute_is_written_in_one_place_only():
    """There a text that begins like a formula is made harmless: see the next test."""
    writing = r"csv\.(writer|DictWriter)|to_csv|text/csv|xlsx"
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("agent", "gateway")
        for path in (ROOT / package).rglob("*.py")
        if re.search(writing, path.read_text())
    }
    assert found == {"gateway/joulemark_gateway/api/series_files.py"}


@dataclass(frozen=True)
class _Told:
    """A table of one row whose column and word are these."""

    name: str
    word: str

    @property
    def columns(self):
        return [Column("power_w", "number"), Column(self.name, "word")]

    def chunks(self):
        yield [np.array([-1.5]), np.array([self.word], object)]


def test_no_text_of_a_table_is_computed_by_a_spreadsheet():
    for text in WHOLE:
        written = b"".join(csv_of(cast(Table, _Told(text, text)))).decode()
        head, row = csv.reader(io.StringIO(written, newline=""))
        assert (head[0], row[0]) == ("power_w", "-1.5"), "a number below zero is a number"
        wanted = f"'{text}" if text.startswith(FORMULA) else text
        assert (head[1], row[1]) == (wanted, wanted)
    assert sum(text.startswith(FORMULA) for text in WHOLE) >= 20


# -------------------------------------------------------------------------------------- the report


def _filled(value, words, name=""):
    """The report with a word in front of every text in it."""
    if isinstance(value, dict):
        return {
            key: item if key in {"series", "issued"} else _filled(item, words, key)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_filled(item, words, name) for item in value]
    if isinstance(value, str) and any(map(str.isalpha, value)):
        return next(words) + value
    return value


class _Shape(HTMLParser):
    """Elements and the names of their attributes, in order; and all text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, ...]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, *(name for name, _ in attrs)))

    def handle_data(self, data):
        self.text += data

    def handle_decl(self, decl):
        self.elements.append(("decl", decl.lower()))

    def handle_comment(self, data):
        self.elements.append(("comment", data))

    unknown_decl = handle_comment
    handle_pi = handle_comment


def _shape(text: str) -> _Shape:
    shape = _Shape()
    shape.feed(text)
    shape.close()
    return shape


def _noted(words: Iterator[str], used: list[str]) -> Iterator[str]:
    """The words; each is noted when it is taken."""
    for word in words:
        used.append(word)
        yield word


def _reports():
    """Reports in which all texts together have had every word."""
    words = iter(WHOLE * 2)
    left = len(WHOLE)
    while left > 0:
        used: list[str] = []
        report = _filled(true_report().report, _noted(words, used))
        left -= len(used)
        yield report, used


@pytest.mark.endurance
def test_a_page_with_such_texts_has_the_elements_of_one_without():
    plain = _shape(page(_filled(true_report().report, iter(lambda: "word ", None))))
    for report, _ in _reports():
        text = page(report)
        assert _shape(text).elements == plain.elements
        assert not set(text) & set("\x00\x08\x1b\x9b\u200f\u202e\u2066"), "letters that hide"


@pytest.mark.endurance
def test_a_pdf_with_such_texts_does_nothing_when_it_is_opened():
    for report, _ in _reports():
        data = pdf(report)
        assert not [word for word in ACTIONS if word in data]
        text = "".join(reading.extract_text() for reading in PdfReader(io.BytesIO(data)).pages)
        assert "root:x:0" not in text, "a file of this machine"
        assert not any(letter in text for letter in "\x1b\u202e\x00")


def test_a_plan_keeps_such_texts_as_texts():
    for text in WHOLE:
        data = document_bytes({"title": text})
        assert json.loads(data) == {"title": text}


def test_an_error_tells_no_more_than_it_must(capsys):
    for text in TEXTS:
        shown = printable(str(DeviceError(f"{text!r} is here.", "Look.")))
        assert all(line.isprintable() for line in shown.split("\n"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("maker", ["null", "true", "on", "12", "0x1f", "1_000", "no", "y" * 60])
def test_a_sunspec_device_of_any_maker_gets_a_profile_that_can_be_read(maker):
    model = bytes.fromhex("00670032") + bytes(100)
    found = sunspec_profile(
        {103: 50}, {"maker": maker}, [Response("sunspec", 103, model)], date(2026, 1, 2)
    )
    assert found is not None
    profile, _ = checked_profile(parse_yaml(found.text, "scanned.yaml"))
    assert profile.model == found.name
