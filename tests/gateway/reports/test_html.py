"""The page shows the report's own figures, escapes everything and fetches nothing."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from joulemark_agent.contract.document import document_bytes
from joulemark_gateway.reports.html import page
from support.bundles import Recipe, true_report
from support.plant import plan_mapping
from support.present import present

NUMBER = re.compile(r"(?<![\w.-])[0-9]+(?:\.[0-9]+)?(?!\w)")
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;"
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "div", "p", "h1",
    "h2", "h3", "span", "b", "i", "small", "strong", "em", "s", "code", "pre", "ul", "li", "dl",
    "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "svg", "path",
    "circle", "rect", "text",
}  # fmt: skip


class Reader(HTMLParser):
    """Collects tags, attributes, and the text a reader sees, without the ticks of axes."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self.open = set(), [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in {"meta", "path", "circle"}:
            self.open.append((tag, dict(attrs).get("class") or ""))
        if tag in {"td", "th", "p", "dd", "dt", "li", "div", "h1", "h2", "h3", "figcaption"}:
            self.text.append("\n")

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag, "every element is closed in its turn"

    def handle_data(self, data):
        if not any(tag == "style" or "tick" in kind for tag, kind in self.open):
            self.text.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def strings(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif value is not None:
        yield str(value)


def disqualified():
    return Recipe(plan=document_bytes(plan_mapping(drivers=[]))).report().report


def test_the_page_follows_from_the_report_alone():
    assert page(json.loads(true_report().report_json)).encode() == true_report().report_html


@pytest.mark.parametrize("make", [lambda: true_report().report, disqualified])
def test_every_number_a_reader_sees_stands_in_the_report(make):
    report = make()
    told = {number for text in strings(report) for number in NUMBER.findall(text)}
    seen = NUMBER.findall("".join(read(page(report)).text))
    assert len(seen) > 50
    assert [number for number in seen if number not in told] == []


def test_the_main_figures_are_seen_as_they_are_printed():
    report = true_report().report
    seen = "".join(read(page(report)).text)
    for name in ("avoided_kwh", "half_width_kwh", "avoided_t", "half_width_t", "creditable_t"):
        assert report["headline"][name] in seen
    for section in ("saving", "carbon", "creditable", "split"):
        for name, text in report[section].items():
            if name.endswith(("_kwh", "_t")) and "_90" not in name and "_95" not in name:
                assert text is None or text in seen or name.startswith("standard"), name
    assert "2018-03-22 06:00 +09:00" in seen


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("name", ["gaps", "missing"])
def test_of_a_list_without_end_the_first_are_printed_and_the_rest_is_told(language, name):
    report = json.loads(true_report().report_json)
    report[name] = report[name][:1] * 2600
    text = page(report, language)
    assert text.count("<tr>") < 1500
    seen = "".join(read(text).text)
    assert "500" in seen
    assert "2600" in seen or "2,600" in seen


def test_the_korean_page_shows_the_same_figures_in_korean():
    text = page(true_report().report, "ko")
    seen = "".join(read(text).text)
    english = "".join(read(page(true_report().report)).text)
    decimals = re.compile(r"[0-9]+\.[0-9]+")
    assert sorted(decimals.findall(seen)) == sorted(decimals.findall(english))
    assert '<html lang="ko">' in text
    for words in (
        "절감량(회피 에너지)",
        "보고 기간",
        "불확도",
        "재생된 데이터",
        "직접 검증하는 방법",
    ):
        assert words in seen


def test_the_banner_of_a_replay_is_the_first_thing_on_the_page():
    body = page(true_report().report).partition("<body>")[2].lstrip()
    assert body.startswith('<div class="banner replayed" role="note"><strong>Replayed data')


def test_a_disqualified_report_shows_no_saving_and_says_why():
    seen = "".join(read(page(disqualified())).text)
    assert "No saving is stated" in seen
    assert "no_activity_driver" in seen
    for word in ("Avoided energy", "Creditable", "± "):
        assert word not in seen.replace("mean ± 3 sd", "")


def test_nothing_is_fetched_and_nothing_runs():
    text = page(true_report().report)
    reader = read(text)
    assert reader.tags <= ALLOWED
    names = {name for _, name, _ in reader.attributes}
    assert not names & {"src", "href", "style", "srcset", "action", "data"}
    assert not any(name.startswith("on") for name in names)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_the_policy_of_the_page_allows_its_own_style_and_nothing_else():
    text = page(true_report().report)
    style = present(re.search(r"<style>(.*)</style>", text, re.DOTALL))[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = [
        value for tag, name, value in read(text).attributes if (tag, name) == ("meta", "content")
        and "default-src" in value
    ]  # fmt: skip
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def poisoned(value, name=""):
    """The report with hostile text in front of every word in it."""
    if isinstance(value, dict):
        return {
            key: item if key == "series" else poisoned(item, key) for key, item in value.items()
        }
    if isinstance(value, list):
        return [poisoned(item, name) for item in value]
    if isinstance(value, str) and re.search("[A-Za-z]", value):
        return HOSTILE + value
    return value


@pytest.mark.parametrize("make", [lambda: true_report().report, disqualified])
def test_hostile_text_stays_text(make):
    report = {**poisoned(make()), "series": json.loads(json.dumps(make()["series"]))}
    for driver in report["series"]["drivers"]:
        driver["name"] = driver["unit"] = HOSTILE
    reader = read(page(report))
    assert reader.tags <= ALLOWED
    assert not any(name.startswith("on") or name == "src" for _, name, _ in reader.attributes)
    assert "<script>alert(1)</script>" in "".join(reader.text), "it is shown, not run"


def test_a_title_from_the_plan_is_escaped():
    plan = document_bytes(plan_mapping(title=HOSTILE))
    text = Recipe(plan=plan).report().report_html.decode()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 2


def test_digits_are_grouped_by_style_only():
    text = page(true_report().report)
    whole = true_report().report["saving"]["counterfactual_kwh"]
    head, tail = whole[: len(whole) - 7], whole[-7:]
    assert f'<span class="n">{head}<span>{tail[:3]}</span>{tail[3:]}</span>' in text
