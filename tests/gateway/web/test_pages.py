"""What stands on the pages: in both languages, for hostile names, with figures that lead on."""

import ast
import html
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from markupsafe import escape

from joulemark_agent import equipment
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.api import plant
from joulemark_gateway.api.sources import OpenSeries
from joulemark_gateway.evidence.bundle import REPORT
from joulemark_gateway.evidence.ledger import SqliteLedger
from joulemark_gateway.series.base import QUALITY
from joulemark_gateway.web.pages import _near
from joulemark_gateway.web.words import TEXTS, WORDS, language_of
from support import pages
from support.bundles import true_report
from support.evidence import METER, SITE
from support.pages import COMPRESSOR, HOSTILE, PLACE, asking

MACHINE = f"/sites/{SITE}/devices/{COMPRESSOR}"
DAY = "from=2017-12-31T15:00:00Z&to=2018-01-01T15:00:00Z"
PATHS = [
    "/", f"/sites/{SITE}", PLACE, MACHINE, f"{PLACE}/records?{DAY}", "/projects",
    "/projects/pump-house", "/nothing", f"/sites/{SITE}/energy?by=month", f"/sites/{SITE}/quality",
    f"{PLACE}/records/120?{DAY}", f"{PLACE}/records/206", "/projects/pump-house/records",
]  # fmt: skip
HANGUL = re.compile("[가-힣]")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("language", ["en", "ko"])
async def test_a_page_speaks_one_language(client, path, language):
    answer = await client.get(path, headers={"Accept-Language": language})
    text = answer.text.replace("한국어", "")  # the switch names each language in its own
    assert f'<html lang="{language}">' in text
    shown = html.unescape(re.sub(r"<[^>]*>", " ", text))
    assert bool(HANGUL.search(shown)) == (language == "ko")
    for key in TEXTS:
        if "_" in key:
            assert not re.search(rf"(?<![\w/.-]){re.escape(key)}(?![\w.-])", shown) or key in KNOWN


KNOWN: set[str] = set()  # keys that are also words of the data


def test_both_languages_have_the_same_words_and_braces():
    for key, texts in TEXTS.items():
        assert set(texts) == {"en", "ko"}, key
        assert all(texts.values()), key
        braces = [set(re.findall(r"(?<!\{)\{(\w+)\}", text)) for text in texts.values()]
        assert braces[0] == braces[1], key


def test_every_word_that_a_page_asks_for_is_there():
    from importlib import resources  # noqa: PLC0415

    folder = resources.files("joulemark_gateway.web")
    sources = [item.read_text("utf-8") for item in folder.joinpath("templates").iterdir()]
    for code in (folder, folder.joinpath("machines")):
        sources += [f.read_text("utf-8") for f in code.iterdir() if f.name.endswith(".py")]
    asked = {
        key for text in sources for key in re.findall(r"\b(?:t|words)\(['\"](\w+)['\"][,)]", text)
    }
    assert len(asked) > 100
    assert asked <= set(TEXTS)


def test_every_quality_of_a_value_has_its_word():
    assert [code for code in QUALITY if f"q_{code}" not in TEXTS] == []


@pytest.mark.parametrize(
    ("asked", "remembered", "accepted", "language"),
    [
        (None, None, None, "en"),
        (None, None, "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        (None, None, "de, en;q=0.2, ko;q=0.4", "ko"),
        (None, None, "ko;q=x, en;q=0.1", "en"),
        (None, "ko", "en", "ko"),
        ("en", "ko", "ko", "en"),
        ("<b>", "..", "*", "en"),
    ],
)
def test_the_language_is_the_one_asked_for(asked, remembered, accepted, language):
    assert language_of(asked, remembered, accepted) == language


async def test_a_language_that_was_chosen_is_kept(client):
    chosen = await client.get("/?lang=ko")
    assert "httponly" in chosen.headers["set-cookie"].lower()
    again = await client.get("/projects")
    assert '<html lang="ko">' in again.text
    assert "set-cookie" not in (await client.get("/?lang=xx")).headers


async def test_simulated_evidence_is_said_across_the_top(client):
    for path in ("/", f"/sites/{SITE}", PLACE, f"{PLACE}/records?{DAY}"):
        text = (await client.get(path)).text
        assert "Simulated," in text.partition("<header")[0]
        assert "recorded 2018" in text


async def test_a_device_without_counter_says_how_its_energy_is_known(client):
    text = (await client.get(MACHINE)).text
    assert "each value holds until the next" in text
    assert "Leak episodes" in text
    assert "There is no flow meter" in text, "a refused figure says why"
    assert str(escape(HOSTILE)) in text
    assert HOSTILE not in text


async def test_missing_is_not_zero(client):
    text = (await client.get(f"/sites/{SITE}?from=2017-12-25&to=2018-01-02")).text
    row = text.partition('id="day-2017-12-25"')[2].partition("</tr>")[0]
    assert "not recorded" in row
    assert ">0.000<" not in row


async def test_before_the_series_is_open_the_pages_say_so(state):
    with state.sources(series=OpenSeries()) as sources:
        async with asking(sources) as client:
            answer = await client.get("/")
            assert answer.status_code == 503
            assert "The series is not open yet." in answer.text
            assert (await client.get("/health")).status_code == 503


async def test_without_evidence_the_pages_say_so(state, tmp_path):
    with state.sources(evidence=SqliteLedger(tmp_path / "none.sqlite")) as sources:
        async with asking(sources) as client:
            answer = await client.get("/")
            assert answer.status_code == 503
            assert "no evidence store" in answer.text


async def test_every_day_of_the_page_leads_to_records_that_add_up_to_it(client):
    """The figure on the page, the API's day, and the sum over the records' raw words are one."""
    for device, first, last in (
        (METER, "2018-01-01", "2018-01-04"),
        (COMPRESSOR, "2018-01-01", "2018-01-04"),
    ):
        path = f"/sites/{SITE}/devices/{device}"
        text = (await client.get(f"{path}?from={first}&to={last}")).text
        days = (await client.get(f"/api/v1{path}/days?from={first}&to={last}")).json()
        found = dict(
            re.findall(r'id="day-([0-9-]+)">.*?<td class="num"><a href="([^"]+)"', text, re.DOTALL)
        )
        assert len(found) == 4
        for day in days["devices"][0]["days"]:
            page = html.unescape(found[day["day"]])
            assert parse_qs(urlsplit(page).query) == parse_qs(urlsplit(day["records"]).query)
            records = (await client.get(day["records"])).json()
            assert records["sum"]["energy_wh"] == pytest.approx(day["energy_wh"], rel=1e-12)
            for name in ("covered_us", "estimated_us"):
                assert records["sum"][name] == day[name]
            shown = (await client.get(page)).text
            printed = f"{day['energy_wh'] / 1000:,.3f}"
            assert f'<span class="n">{printed}</span>' in shown
            assert f'<span class="n">{printed}</span>' in text


async def test_a_mistake_in_the_equipment_section_costs_its_part_of_the_page_alone(
    client, monkeypatch
):
    def refused(*_):
        raise EvidenceError("The section has mistakes.", "Correct it.", code="bad_document")

    monkeypatch.setattr("joulemark_gateway.api.machines.analysed", refused)
    answer = await client.get(MACHINE)
    assert answer.status_code == 200
    assert "The section has mistakes. Correct it." in answer.text
    assert 'id="h-energy"' in answer.text


async def test_a_site_that_only_generates_is_not_said_to_have_no_samples(client, monkeypatch):
    monkeypatch.setattr(plant.Device, "is_generator", property(lambda _: True))
    text = (await client.get(f"/sites/{SITE}?lang=en")).text
    assert "There are no samples yet" not in text
    assert "measures energy use" in text


def test_every_page_of_records_can_be_reached_from_the_first():
    seen: set[int] = set()
    wanted = {0}
    while wanted - seen:
        page = min(wanted - seen)
        seen.add(page)
        offered = _near(0, 86_400, page)
        assert len(offered) <= 23
        wanted |= set(offered)
    assert seen == set(range(0, 86_400, 100))
    assert _near(7, 0, 7) == []


async def test_energy_and_co2e_of_a_site_are_said_to_be_those_of_electricity(client):
    """A furnace's gas is in neither: called energy, they would be far too small."""
    text = (await client.get(f"/sites/{SITE}?lang=en")).text
    assert "Electricity by day" in text
    assert "CO2e of electricity, last day" in text
    assert "Gas and other fuels are not in it" in text
    assert "Energy by day" not in text


async def test_a_hostile_report_is_shown_as_text(state, tmp_path):
    report = parse_canonical(true_report().report_json)
    report["project"]["title"] = HOSTILE
    report["findings"][0]["rule"] = HOSTILE
    report["banners"].append({"code": "replayed", "text": HOSTILE})
    (tmp_path / REPORT).write_bytes(canonical_bytes(report))
    with state.sources(reports=[tmp_path]) as sources:
        async with asking(sources) as client:
            for path in ("/projects", "/projects/pump-house"):
                text = (await client.get(path)).text
                assert "<script>alert" not in text
                assert "&lt;script&gt;alert" in text


async def test_hostile_causes_of_gaps_are_shown_as_text(tmp_path):
    state = pages.fill(tmp_path / "state", days=3, cause=HOSTILE)
    with state.sources() as sources:
        async with asking(sources) as client:
            for path in (f"/sites/{SITE}", PLACE):
                text = (await client.get(path)).text
                assert "<script>alert" not in text
                assert "&lt;script&gt;alert" in text


async def test_what_the_models_refuse_is_told_in_korean_too(client):
    answer = await client.get(f"/api/v1{MACHINE}/analysis")
    whys = {figure["why"] for figure in answer.json()["figures"] if figure["why"]}
    text = (await client.get(f"{MACHINE}?lang=ko")).text
    assert whys
    for why in whys:
        told = WORDS["ko"].told(why)
        assert HANGUL.search(told), why
        assert str(escape(told)) in text
        assert WORDS["en"].told(why) == why


def test_every_finding_of_an_equipment_model_has_a_title_in_both_languages():
    folder = Path(equipment.__file__).parent
    calls = [
        node
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
    ]
    first = [c.args[0].value for c in calls if c.args and isinstance(c.args[0], ast.Constant)]
    codes = sorted({code for code in first if isinstance(code, str)})

    assert len(codes) >= 8
    assert [code for code in codes if f"finding_{code}" not in TEXTS] == []


def test_every_sentence_has_the_same_braces_in_korean():
    from joulemark_gateway.web.words import _PATTERNS  # noqa: PLC0415

    for pattern, korean in _PATTERNS:
        assert set(re.findall(r"\{(\w+)\}", korean)) == set(pattern.groupindex)
