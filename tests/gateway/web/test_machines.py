"""The page of a machine: states, the charts of its kind, live figures with their uncertainty."""

import html
import re
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st

from joulemark_agent.equipment import Figure
from joulemark_gateway.api import statements
from joulemark_gateway.api.machines import figure_of
from joulemark_gateway.web import charts, figures, machine_charts
from joulemark_gateway.web.application import application
from joulemark_gateway.web.drawing import Frame
from joulemark_gateway.web.machine_charts import Scatter, Stated
from joulemark_gateway.web.words import TEXTS
from support import machines
from support.evidence import SITE, START_US
from support.machines import HOUR_US, OVEN, PLAIN, ROOF, SCREW
from support.pages import DAY_US, asking, gate

PLACE = f"/sites/{SITE}/devices"
API = f"/api/v1{PLACE}"
SEOUL = ZoneInfo("Asia/Seoul")
HANGUL = re.compile("[가-힣]")


@pytest.fixture(scope="module")
def hall(tmp_path_factory):
    return machines.fill(tmp_path_factory.mktemp("hall") / "hall")


@pytest.fixture(scope="module")
def served(hall):
    with hall.sources() as sources:
        yield sources, application(sources, gate(Path(sources.evidence.where).parent))


@pytest_asyncio.fixture
async def client(served):
    async with asking(*served) as client:
        yield client


def shown(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def panel(text: str, title: str) -> str:
    """The figure of the page that stands under this title."""
    [found] = re.findall(
        rf'<figure class="panel"><figcaption><b>{re.escape(title)}</b>.*?</figure>', text, re.DOTALL
    )
    return str(found)


# ---------------------------------------------------------------------- pages


@pytest.mark.parametrize("device", [SCREW, OVEN, ROOF, PLAIN])
@pytest.mark.parametrize("language", ["en", "ko"])
async def test_a_machine_of_every_kind_has_its_page_in_both_languages(client, device, language):
    answer = await client.get(f"{PLACE}/{device}?lang={language}")
    assert answer.status_code == 200
    text = answer.text.replace("한국어", "")
    assert bool(HANGUL.search(shown(text))) == (language == "ko")
    for part in ("h-equipment", "h-trend", "h-point"):
        assert f'id="{part}"' in text
    assert text.index("h-equipment") < text.index("h-point"), "what it did stands first"
    for drawing in re.findall(r"<svg[^>]*>", text):
        assert re.search(r'aria-label="[^"]{5,}"', drawing), "a screen reader says something"
    for figure in re.findall(r'<figure class="panel">.*?</figure>', text, re.DOTALL):
        assert "<svg" in figure or re.search(r'class="empty">[^<]{10,}', figure), "or says why not"


async def test_power_stands_against_the_flow_with_the_declared_curve(client):
    text = panel((await client.get(f"{PLACE}/{SCREW}")).text, "Power against flow")
    assert 'class="line declared"' in text
    assert text.count('<circle class="cell') >= 2 * 3, "loaded, unloaded and off, wide and narrow"
    assert "its part-load curve, as declared" in text


async def test_without_a_flow_meter_power_stands_against_the_load(client):
    text = panel((await client.get(f"{PLACE}/{PLAIN}")).text, "Power against load")
    assert "straight between its unloaded and loaded level" in text
    assert "loaded, of the time, %" in text


async def test_the_share_of_unloaded_energy_is_that_of_the_figures(client):
    found = (await client.get(f"{API}/{SCREW}/analysis")).json()
    values = {figure["name"]: figure["value"] for figure in found["figures"]}
    text = panel((await client.get(f"{PLACE}/{SCREW}")).text, "Energy by state")
    percent = 100 * values["unload_wh"] / values["energy_wh"]
    assert f"Running without load took {percent:.1f} % of it" in text
    assert f"{values['unload_wh'] / 1000:,.1f} kWh" in text
    assert 'class="state s-unload"' in text


async def test_every_leak_episode_is_a_dot(client):
    found = (await client.get(f"{API}/{SCREW}/analysis")).json()
    episodes = [span for span in found["spans"] if span["kind"] == "leak"]
    text = panel((await client.get(f"{PLACE}/{SCREW}")).text, "Leak rate, episode by episode")
    assert len(episodes) >= 25
    assert text.count('<circle class="stated') == 2 * len(episodes)


async def test_batches_show_their_energy_and_what_it_is_for_each_kilogram(client):
    found = (await client.get(f"{API}/{OVEN}/analysis")).json()
    batches = [span for span in found["spans"] if span["kind"] in {"batch", "open_batch"}]
    text = (await client.get(f"{PLACE}/{OVEN}")).text
    specific = html.unescape(panel(text, "Specific energy by batch"))
    energy = html.unescape(panel(text, "Energy by batch"))
    assert len(batches) == 5
    for batch in batches:
        by_name = {figure["name"]: figure["value"] for figure in batch["figures"]}
        if by_name.get("specific_energy_wh_kg") is not None:
            told = " ".join(figures.quantity("x_wh_kg", by_name["specific_energy_wh_kg"]))
            assert f": {told}</title>" in specific
        assert f": {by_name['total_wh'] / 1000:,.3f} kWh" in energy
    assert panel(text, "Heating against holding").count("<rect") >= 2 * 2


async def test_the_sun_stands_behind_the_power_and_every_day_has_its_ratio(client):
    text = (await client.get(f"{PLACE}/{ROOF}")).text
    curves = panel(text, "Power and sun")
    for css in ('class="sun"', 'class="line ac"', 'class="line dc"'):
        assert css in curves
    found = (await client.get(f"{API}/{ROOF}/analysis")).json()
    days = [span for span in found["spans"] if span["kind"] == "day"]
    clipped = [span for span in found["spans"] if span["kind"] == "clipped"]
    assert len(clipped) == 3
    assert curves.count('class="clipped"') == 2 * len(clipped)
    assert "At its limit for" in curves
    ratios = panel(text, "Performance ratio by day")
    assert ratios.count('class="made"') == 2 * len(days)


async def test_where_no_figures_are_asked_for_the_page_says_what_to_do(client):
    text = shown((await client.get(f"{PLACE}/{PLAIN}")).text)
    assert "Give it 'figures_every_s'" in text
    found = (await client.get(f"{API}/{PLAIN}/figures")).json()
    assert (found["every_us"], found["windows"], found["next_us"]) == (None, [], None)


async def test_a_figure_that_is_chosen_shows_its_course_with_its_band(client):
    text = (await client.get(f"{PLACE}/{SCREW}?figure=leak_pa_s")).text
    section = text.partition('id="h-trend"')[2].partition("</section>")[0]
    assert section.count('<circle class="stated limited"') == 2 * 30, "every window has a flag"
    assert section.count('class="band"') == 2
    told = shown(section)
    assert "Newest window, 2018-01-02 05:00 to 2018-01-02 06:00:" in told
    assert "−0.01998 ± 0.00060 bar/min estimated newly_made" in told  # noqa: RUF001
    assert "98 % of the time backed k = 2; 12.0 degrees of freedom" in told
    assert "free air delivered no value" in told
    for row in re.findall(r'<a href="(\?[^"]*figure=[^"]*)"', section)[:1]:
        assert (await client.get(f"{PLACE}/{SCREW}{html.unescape(row)}")).status_code == 200


async def test_a_window_without_value_breaks_the_line(client):
    text = (await client.get(f"{PLACE}/{SCREW}?figure=specific_power_j_m3")).text
    section = text.partition('id="h-trend"')[2]
    assert section.count('class="line value"') >= 2 * 6
    assert "7.5 degrees of freedom" in section


async def test_degrees_of_freedom_without_end_are_said_in_words(client):
    section = (await client.get(f"{PLACE}/{SCREW}?figure=energy_wh&lang=ko")).text
    assert "자유도 무한대" in section.partition('id="h-trend"')[2]


async def test_a_figure_nobody_states_is_not_found(client):
    answer = await client.get(f"{PLACE}/{SCREW}?figure=nobody_w")
    assert answer.status_code == 404


# ------------------------------------------------------------------------ API


async def test_stated_figures_are_those_of_the_leaves(client):
    found = (await client.get(f"{API}/{SCREW}/figures?limit=1000")).json()
    assert found["every_us"] == HOUR_US
    assert found["next_us"] is None
    assert len(found["windows"]) == 30
    for hour, window in enumerate(found["windows"]):
        leaf = machines.stated(hour, window["first_seq"], window["last_seq"])
        assert (window["start_us"], window["end_us"]) == (int(leaf["start"]), int(leaf["end"]))
        assert window["absent"] == leaf["absent"]
        given = {figure["name"]: figure for figure in window["figures"]}
        assert set(given) == set(leaf["figures"])
        for name, figure in leaf["figures"].items():
            row = given[name]
            assert row["value"] == float(figure["value"])
            assert row["standard_uncertainty"] == (figure["u"] and float(figure["u"]))
            freedom = figure["nu"] if figure["nu"] in {None, "inf"} else float(figure["nu"])
            assert row["degrees_of_freedom"] == freedom
            assert row["flags"] == figure["flags"]
            assert row["covered_ratio"] == 0.98
        assert {row["unit"] for row in window["figures"]} >= {"Wh", "Pa/s", "s"}
    records = (await client.get(f"{API}/{SCREW}/records?seq={found['windows'][3]['seq']}")).json()
    assert records["leaves"][0]["kind"] == "figures"


@pytest.mark.parametrize("looked", [statements.MOST_LOOKED, 300])
async def test_pages_of_windows_leave_none_out(client, monkeypatch, looked):
    monkeypatch.setattr(statements, "MOST_LOOKED", looked)
    starts, start = [], ""
    for _ in range(40):
        part = (await client.get(f"{API}/{SCREW}/figures?limit=11{start}")).json()
        starts += [window["start_us"] for window in part["windows"]]
        if part["next_us"] is None:
            break
        start = f"&from={iso(part['next_us'])}"
    assert starts == [START_US + hour * HOUR_US for hour in range(30)]


def iso(time_us: int) -> str:
    from joulemark_gateway.api.answers import iso  # noqa: PLC0415

    return iso(time_us)


async def test_a_window_belongs_to_the_span_it_begins_in_and_one_figure_can_be_asked_for(client):
    span = f"from={iso(START_US + 5 * HOUR_US)}&to={iso(START_US + 8 * HOUR_US)}"
    found = (await client.get(f"{API}/{SCREW}/figures?{span}&figure=off_s")).json()
    assert [window["start_us"] for window in found["windows"]] == [
        START_US + hour * HOUR_US for hour in (5, 6, 7)
    ]
    assert {f["name"] for window in found["windows"] for f in window["figures"]} == {"off_s"}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "figure=No", "from=2018-01-01T00:00:00"]
)
async def test_what_cannot_be_asked_for_is_refused(client, query):
    assert (await client.get(f"{API}/{SCREW}/figures?{query}")).status_code == 422


async def test_figures_are_listed_as_points_that_are_no_registers(client):
    rows = (await client.get(f"{API}/{SCREW}/points")).json()["points"]
    sources = {row["name"]: row["source"] for row in rows}
    assert {name for name, source in sources.items() if source == "device"} == set(
        machines.POINTS[SCREW]
    )
    assert sources["kpi_leak_pa_s"] == "figure"
    assert sources["kpi_u_leak_pa_s"] == "uncertainty"
    found = (await client.get(f"{API}/{SCREW}/samples?point=kpi_leak_pa_s")).json()
    assert len(found["samples"]) == 30
    assert found["unit"] == "Pa/s"
    assert {row["quality"] for row in found["samples"]} == {"uncertain"}
    assert found["samples"][0]["t_utc_us"] == START_US + HOUR_US, "at the window's end"
    answer = await client.get(f"{API}/{SCREW}/samples?point=kpi_nobody_w")
    assert answer.status_code == 404
    page = (await client.get(f"{PLACE}/{SCREW}")).text
    assert "kpi_" not in page.partition('id="h-points"')[2].partition("</section>")[0]


async def test_the_analysis_carries_uncertainty_and_flags_and_the_document_describes_them(client):
    found = (await client.get(f"{API}/{SCREW}/analysis")).json()
    energy = next(figure for figure in found["figures"] if figure["name"] == "energy_wh")
    assert (energy["unit"], energy["standard_uncertainty"]) == ("Wh", None), "unknown is not 0"
    document = (await client.get("/openapi.json")).json()
    assert f"{API}/{{device}}/figures".replace(SITE, "{site}") in document["paths"]
    wanted = {"standard_uncertainty", "degrees_of_freedom", "flags"}
    for name in ("Figure", "StatedFigure"):
        assert wanted <= set(document["components"]["schemas"][name]["properties"])


def test_a_figure_is_answered_with_all_that_its_model_says_of_it():
    given = Figure("heat_wh", 5.0, 0.5, "", 0.25, float("inf"), ("estimated",))
    told = figure_of(given)
    assert (told.standard_uncertainty, told.degrees_of_freedom) == (0.25, "inf")
    assert (told.flags, told.covered_ratio) == (["estimated"], 0.5)
    none = figure_of(Figure("heat_wh", float("nan"), None, "", 0.25, 3.0, ("unresolved",)))
    assert (none.value, none.standard_uncertainty, none.degrees_of_freedom) == (None, None, None)
    assert none.why
    assert none.flags == ["unresolved"]


async def test_a_year_of_figures_is_drawn_in_few_strokes(client, monkeypatch):
    monkeypatch.setattr("joulemark_gateway.web.trends._MOST_ROWS", 20)
    text = (await client.get(f"{PLACE}/{SCREW}?figure=energy_wh")).text
    section = text.partition('id="h-trend"')[2].partition("<details")[0]
    assert 'class="line value"' in section
    assert "<circle" not in section
    assert "band: least to greatest" in section, "and not the uncertainty"


# --------------------------------------------------------------------- charts


FRAME = Frame((START_US, START_US + 7 * DAY_US), SEOUL, "a title")


def test_a_week_of_short_states_stays_readable_and_small():
    spans = [
        (START_US + k * 240_000_000, START_US + k * 240_000_000 + 60_000_000) for k in range(2520)
    ]
    drawn = charts.timeline([charts.Lane("loaded", "25 %", "s-load", spans)], FRAME)
    assert 0 < drawn.count("<rect") < 1200
    shades = set(re.findall(r"shade-(\d)", drawn))
    assert shades <= {"1", "2"}, "a quarter of the time is no full column"


@given(
    lengths=st.lists(st.integers(1, 10**9), min_size=2, max_size=60),
    cuts=st.integers(1, 40),
)
def test_shares_of_columns_add_up_to_the_time_in_the_state(lengths, cuts):
    bounds = np.cumsum([0, *lengths])
    spans = [(int(a), int(b)) for a, b in zip(bounds[::2], bounds[1::2], strict=False)]
    edges_us = np.linspace(0, float(bounds[-1]), cuts + 1)
    shares = charts.shares_in(spans, edges_us)
    assert shares.min() >= -1e-9
    assert shares.max() <= 1 + 1e-9
    whole = sum(b - a for a, b in spans)
    assert float(shares @ np.diff(edges_us)) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "value", "u", "told"),
    [
        ("specific_power_j_m3", 400_000.0, 4_000.0, ("6.67", "0.13", "kW/(m³/min)")),
        ("energy_wh", 12_900.0, 0.05, ("12.90000", "0.00010", "kWh")),
        ("temperature_k", 293.15, 0.6, ("20.0", "1.2", "°C")),
        ("power_w", 15_000.0, 0.0, ("15.00", "0.00", "kW")),
        ("energy_wh", 1e9, 2e8, ("1,000,000", "400,000", "kWh")),
    ],
)
def test_a_value_has_as_many_digits_as_its_uncertainty(name, value, u, told):
    assert figures.expanded(name, value, u) == told


@given(
    st.floats(-1e12, 1e12, allow_nan=False),
    st.floats(0, 1e9, allow_nan=False),
)
def test_any_value_with_uncertainty_can_be_shown(value, u):
    assert all(isinstance(text, str) for text in figures.expanded("energy_wh", value, u))


def test_an_episode_that_is_not_resolved_is_a_cross_at_the_foot():
    rows = [
        Stated(START_US, -30.0, 1.0, is_limited=False),
        Stated(START_US + DAY_US, None, None, is_limited=True),
    ]
    drawn = machine_charts.trend(rows, figures.shown_as("leak_pa_s"), FRAME, None, from_zero=True)
    assert drawn.count('class="unresolved"') == 2
    assert drawn.count('class="whisker"') == 2
    assert machine_charts.trend(rows[1:], figures.shown_as("leak_pa_s"), FRAME, None)


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), min_size=1, max_size=300))
@example([(sys.float_info.min, 0.0)])
def test_dots_of_a_scatter_lie_inside_it(dots):
    x, y = (np.array(column) for column in zip(*dots, strict=True))
    drawn = machine_charts.scatter(Scatter(x, y, "x", "y", from_zero=False), "a title")
    for cx, cy in re.findall(r'cx="([-0-9.e+]+)" cy="([-0-9.e+]+)"', drawn):
        assert -4 <= float(cx) <= 964
        assert -4 <= float(cy) <= 284


def test_many_episodes_are_all_drawn():
    rows = [Stated(START_US + k * HOUR_US // 9, -30.0, None, is_limited=False) for k in range(900)]
    drawn = machine_charts.trend(rows, figures.shown_as("leak_pa_s"), FRAME, None, from_zero=True)
    assert drawn.count("<circle") == 2 * len(rows)


def test_every_flag_of_the_working_rules_has_its_words():
    for flag in ("estimated", "extrapolated", "lower_bound", "unresolved", "declared"):
        assert f"flag_{flag}" in TEXTS
        assert f"flag_{flag}_more" in TEXTS


def test_a_single_value_has_an_axis():
    rows = [Stated(START_US, 5.0, None, is_limited=False)]
    drawn = machine_charts.trend(rows, figures.shown_as("x_count"), FRAME, None)
    assert drawn.count("<circle") == 2
    assert "nan" not in drawn
