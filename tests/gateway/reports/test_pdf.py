"""The PDF shows the report's own figures, in its own fonts, in the same bytes every time."""

import copy
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.reports.pdf import characters, pdf, shown
from joulemark_gateway.reports.words import LANGUAGES
from support.bundles import Recipe, true_report
from support.plant import plan_mapping

ROOT = Path(__file__).parents[3]
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("agent", "gateway", "configs"))
FONTS = {"JoulemarkSansKR", "JoulemarkHeadingKR", "JoulemarkSigns"}
KOREAN_TITLE = (
    "경기도 화성시 (주)뷁똠정밀금속 제3공장 공기압축기 고효율 인버터 교체 및 누설 개선 사업"
)
HOSTILE = "\"'><script>alert(1)</script>&amp;#{panic()}$*_`\\ \u202e\u0627\u0644 \x00\x1b[31m"


def disqualified():
    return Recipe(plan=document_bytes(plan_mapping(drivers=[]))).report().report


def changed(**project):
    report = copy.deepcopy(true_report().report)
    report["project"].update(project)
    return report


@cache
def made(language):
    return pdf(true_report().report, language)


def read(data):
    return PdfReader(io.BytesIO(data))


@cache
def texts_of(data):
    """The text of every page, its white space made one blank."""
    return [" ".join(page.extract_text().split()) for page in read(data).pages]


def seen(data):
    return " ".join(texts_of(data))


def all_objects(reader):
    for number in range(1, reader.trailer["/Size"]):
        yield reader.get_object(number)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_figure_of_the_result_can_be_found_and_copied(language):
    report, text = true_report().report, seen(made(language))
    for section in ("headline", "saving", "carbon", "creditable", "split"):
        for name, figure in report[section].items():
            if name.endswith(("_kwh", "_t")) and not re.search("_9[05]_", name):
                assert figure is None or figure in text or name.startswith("standard"), name
    assert f"{report['headline']['avoided_percent']} %" in text
    for month in report["months"]:
        assert " ".join([month["month"], month["kept"], month["masked"]]) in text
        assert month["half_width_kwh"] in text
    for tree in report["evidence"]:
        assert tree["origin"] in text
        assert tree["root"] in text
        for digest in tree["documents"].values():
            assert digest in text, "a digest is one word"
    assert "2018-03-22 06:00 +09:00" in text
    assert report["headline"]["creditable_policy"] in text, "an id is not cut at its hyphens"


def test_hangul_can_be_found_and_copied():
    text = seen(made("ko"))
    for words in (
        "절감량(회피 에너지)",
        "인정 가능량",
        "불확도(신뢰구간 반폭), 90 %",
        "재생된 데이터: 슬롯과 표본의 시각은 모의된 것이다.",
        "이 보고서가 보여 주지 않는 것",
        "수치는 report.json에 적힌 그대로이며",
    ):
        assert words in text


def test_a_long_korean_title_with_rare_syllables_is_shown_whole():
    data = pdf(changed(title=KOREAN_TITLE), "ko")
    assert KOREAN_TITLE in texts_of(data)[0]
    assert read(data).metadata["/Title"] == f"{KOREAN_TITLE} — 감축 보고서"


@pytest.mark.parametrize(
    ("language", "banner"),
    [("en", "Replayed data · Synthetic"), ("ko", "재생된 데이터 · 합성 데이터")],
)
def test_every_page_says_that_the_data_are_no_plant_s_and_which_report_it_is(language, banner):
    digest = digest_hex(canonical_bytes(true_report().report))
    pages = texts_of(made(language))
    assert len(pages) >= 3
    for number, text in enumerate(pages, 1):
        assert text.startswith(banner)
        assert digest in text
        numbers = (number, len(pages)) if language == "en" else (len(pages), number)
        form = "page {} of {}" if language == "en" else "{}쪽 중 {}쪽"
        assert form.format(*numbers) in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_disqualified_report_shows_no_saving_and_says_why(language):
    text = seen(pdf(disqualified(), language))
    assert "no_activity_driver" in text
    assert ("No saving is stated" if language == "en" else "절감량을 제시하지 않음") in text
    assert "± " not in text.replace("mean ± 3 sd", "").replace("평균 ± 표준편차", "")


def run_elsewhere(seed, zone):
    """The digest of the PDF as another process makes it."""
    code = (
        "import hashlib, json, sys; from joulemark_gateway.reports.pdf import pdf;"
        "report = json.load(sys.stdin);"
        "print(*(hashlib.sha256(pdf(report, to)).hexdigest() for to in ('en', 'ko')))"
    )
    environment = {
        **os.environ, "PYTHONPATH": SOURCES, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C.UTF-8"
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input=true_report().report_json,
        env=environment,
        capture_output=True,
        check=True,
    )
    return ran.stdout.decode().split()


def test_the_same_report_gives_the_same_bytes_in_any_process_and_time_zone():
    here = [digest_hex(made(language)) for language in LANGUAGES]
    assert run_elsewhere("0", "America/St_Johns") == here
    assert run_elsewhere("77", "Asia/Seoul") == here


def test_the_time_of_issue_stands_in_the_bytes_and_the_time_of_printing_does_not():
    """Naive control: the same report with the time of printing as its time gives other bytes."""
    report = true_report().report
    issued = datetime.fromisoformat(report["issued"])
    assert read(made("en")).metadata.creation_date == issued
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert pdf({**report, "issued": now}) != made("en")


def test_order_of_the_report_s_keys_does_not_count():
    report = json.loads(true_report().report_json)
    turned = dict(reversed(report.items()))
    assert digest_hex(pdf(turned)) == digest_hex(made("en"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_the_shipped_fonts_are_used_and_they_are_inside(language):
    fonts = [
        item
        for item in all_objects(read(made(language)))
        if isinstance(item, dict) and item.get("/Type") == "/FontDescriptor"
    ]
    names = {str(font["/FontName"]).lstrip("/").partition("+")[2] for font in fonts}
    assert names <= FONTS
    assert {"JoulemarkSansKR", "JoulemarkHeadingKR"} <= names
    assert all("/FontFile2" in font or "/FontFile3" in font for font in fonts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_tagged_for_archives_in_its_language_and_fetches_nothing(language):
    reader = read(made(language))
    root = reader.trailer["/Root"]
    assert root["/Lang"] == language
    assert root["/MarkInfo"]["/Marked"]
    assert "/StructTreeRoot" in root
    about = root["/Metadata"].get_object().get_data().decode()
    assert re.search(r"pdfaid:part>2<.*pdfaid:conformance>A<", about, re.DOTALL)
    assert re.search(r"pdfuaid:part>1<", about)
    keys = {key for item in all_objects(reader) if isinstance(item, dict) for key in item}
    assert not keys & {"/URI", "/JS", "/JavaScript", "/Launch", "/AA", "/OpenAction"}
    for page in reader.pages:
        assert (round(page.mediabox.width), round(page.mediabox.height)) == (595, 842)


def test_charts_are_drawn_as_lines_and_their_labels_are_text():
    reader = read(made("en"))
    images = [
        item
        for item in all_objects(reader)
        if isinstance(item, dict) and item.get("/Subtype") == "/Image"
    ]
    assert images == []
    assert "kWh per day" in texts_of(made("en"))[0]
    assert "kWh/일" in texts_of(made("ko"))[0]


def test_a_table_over_pages_repeats_its_head():
    report = changed()
    report["missing"] = [dict(report["missing"][0]) for _ in range(300)]
    pages = texts_of(pdf(report))
    assert sum("point from to hours known of it reason" in page for page in pages) >= 5


def poisoned(value, name=""):
    """The report with hostile text in front of every word in it."""
    if isinstance(value, dict):
        return {
            key: item if key in {"series", "issued"} else poisoned(item, key)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [poisoned(item, name) for item in value]
    if isinstance(value, str) and re.search("[A-Za-z]", value):
        return HOSTILE + value
    return value


@pytest.mark.parametrize(
    "make", [disqualified, pytest.param(lambda: true_report().report, marks=pytest.mark.endurance)]
)
def test_hostile_text_stays_text(make):
    report = poisoned(make())
    for driver in report["series"]["drivers"]:
        driver["name"] = driver["unit"] = HOSTILE
    text = seen(pdf(report, "ko"))
    assert "<script>alert(1)</script>&amp;#{panic()}$*_`\\" in text
    assert "[U+202E][U+0627][U+0644] [U+0000][U+001B][31m" in text
    assert not [letter for letter in text if unicodedata.category(letter) in {"Cc", "Cf"}]


LONGER = [
    pytest.param(word, marks=pytest.mark.endurance)
    for word in ("a-" * 2000, "가" * 3000, "\u0301" * 200, "\n" * 99)
]


@pytest.mark.parametrize("word", ["x" * 5000, *LONGER])
def test_a_word_that_no_line_can_hold_is_broken_and_not_lost(word):
    report = changed(title=word)
    report["missing"][0]["device"] = word
    reader = read(pdf(report))
    text = "".join(page.extract_text() for page in reader.pages)
    counted = unicodedata.normalize("NFC", word)[0]
    if counted.isalnum():
        assert text.count(counted) >= word.count(counted)


def test_a_time_of_issue_that_is_none_is_told():
    with pytest.raises(MeasureError) as caught:
        pdf({**true_report().report, "issued": "yesterday"})
    assert caught.value.code == "not_printable"


def test_the_fonts_have_every_character_that_is_written_down_for_them():
    """The compiler refuses a text with a character that no font has: the naive control."""
    known = "".join(sorted(characters()))
    lines = " ".join(known[k : k + 60] for k in range(0, len(known), 60))
    assert pdf(changed(title=lines)).startswith(b"%PDF-")
    assert len([letter for letter in known if "가" <= letter <= "힣"]) == 11_172
    assert set("±−·²₂°ΣéŁłßЖ₩㎥℃") <= set(known)  # noqa: RUF001 what reports print


def test_a_character_that_no_font_has_would_be_refused(monkeypatch):
    monkeypatch.setattr("joulemark_gateway.reports.pdf.shown", lambda text: text)
    with pytest.raises(MeasureError, match="could not be displayed"):
        pdf(changed(title="廣陽"))


@pytest.mark.endurance
def test_a_long_text_in_either_language_is_no_obstacle():
    """Thousands of words in one paragraph; a rule for each in the compiler would be too deep."""
    for text in ("가나다라 " * 4000, "high-speed drive " * 4000, ("가" * 60 + " ") * 300):
        report = changed()
        report["project"]["measure"]["description"] = text
        assert pdf(report, "ko").startswith(b"%PDF-")


@given(st.text())
def test_what_is_shown_holds_nothing_that_the_fonts_lack(text):
    assert set(shown(text)) <= characters()


def test_what_the_fonts_have_stays_as_it_is_and_composed():
    assert shown("Łódź ± 1 m², 뷁 CO₂e") == "Łódź ± 1 m², 뷁 CO₂e"
    assert shown(unicodedata.normalize("NFD", "각도 é")) == "각도 é"
    assert shown("廣\t陽\n") == "[U+5EE3] [U+967D] "
