"""Both languages say the same, every word is used, no sentence of a report stays untranslated."""

import re
from importlib import resources
from string import Formatter

import pytest

from joulemark_agent.contract.document import document_bytes
from joulemark_gateway.measure.creditable import CREDITABLE_POLICIES
from joulemark_gateway.measure.sufficiency import SUFFICIENCY_POLICIES
from joulemark_gateway.reports.blocks import Figure, plain
from joulemark_gateway.reports.content import content
from joulemark_gateway.reports.reduction import LIMITS
from joulemark_gateway.reports.words import LANGUAGES, SENTENCES, TEXTS, WORDS, pattern_of
from support.bundles import Recipe, true_report
from support.plant import plan_mapping

HANGUL = re.compile("[가-힣]")
SOURCE = "".join(
    resources.files("joulemark_gateway.reports").joinpath(name).read_text("utf-8")
    for name in (
        "content.py",
        "assurance.py",
        "plan_section.py",
        "engine_section.py",
        "equation.py",
        "plots.py",
        "pdf.py",
    )
)
# Formulas, abbreviations and placeholders alone: the same in both languages.
ALIKE = {
    "half_width_kwh", "half_width_t", "t_co2e", "percent_of", "head_co2e_t", "head_half_width",
    "head_t", "head_p", "head_vif", "two_figures", "cv_rmse", "nmbe", "kwh", "rule_of",
    "hole", "from_to", "applied", "with_unit", "driver_amount", "slots_sum", "factor_value",
    "warning", "measure", "axis_per", "bic", "head_cv_rmse", "method_with_id", "eq_of_part",
    "range_between",
}  # fmt: skip
METHODS = (
    "mean-1p", "production", "production-2p", "production-3ph", "production-3pc", "production-5p",
    "change-point-2p", "change-point-3ph", "change-point-3pc", "change-point-4p", "change-point-5p",
    "divided", "time-of-week",
)  # fmt: skip
NAMED_BY_DATA = {
    *(f"method_{name}" for name in METHODS),
    *(f"from_{name}" for name in ("model", "meter", "events", "factor", "combined")),
    *(f"event_{name}" for name in ("exclude", "engineering-estimate", "indicator")),
    *(f"eq_energy_of_{unit}" for unit in ("hour", "day")),
    *(f"part_{name}" for name in (
        "summer", "shoulder", "winter", "and", "weekday", "weekend", "base", "heating", "cooling",
        "temperature", "colder", "warmer",
    )),
    *(f"{kind}_{name}" for kind in ("chart", "alt") for name in ("weather", "prediction")),
    "range_busy", "range_quiet", "with_events", "without_events",
    *(f"{kind}_{unit}" for kind in ("unit", "units", "head") for unit in ("hour", "day")),
    "period_baseline", "period_reporting", "treatment_excluded", "treatment_withdrawn",
    "with_corrections", "without_corrections",
    "plan_shown_by_witness", "plan_shown_by_collector", "plan_shown_by_nobody",
}  # fmt: skip


def names_in(text):
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


def test_a_text_has_both_languages_with_the_same_words_to_fill_in():
    for key, text in TEXTS.items():
        assert set(text) == set(LANGUAGES), key
        assert names_in(text["en"]) == names_in(text["ko"]), key
        assert not HANGUL.search(text["en"]), key
        assert HANGUL.search(text["ko"]) or key in ALIKE, key


def test_a_sentence_is_translated_with_the_same_words_to_fill_in():
    for sentence, korean in SENTENCES.items():
        assert HANGUL.search(korean) or "GUM" in sentence, sentence
        assert set(names_in(korean)) == set(names_in(sentence)), sentence


def test_every_text_is_used():
    """By its key, or by the end of it after a prefix that the code puts before it."""
    prefixes = ("head_", "chart_", "alt_", "key_")
    unused = []
    for key in set(TEXTS) - NAMED_BY_DATA:
        ends = [key, *(key.removeprefix(prefix) for prefix in prefixes if key.startswith(prefix))]
        ends += [key.removesuffix("_row"), key.removesuffix("_kept_row")]
        if not any(f'"{end}"' in SOURCE for end in ends):
            unused.append(key)
    assert unused == []


def reports():
    yield true_report().report
    yield Recipe(plan=document_bytes(plan_mapping(drivers=[]))).report().report
    yield Recipe(sealing={"cosigned": False}).report().report


def test_every_sentence_that_a_report_holds_is_translated():
    of = WORDS["ko"].of
    said = [*LIMITS.values()]
    said += [
        text for policy in SUFFICIENCY_POLICIES.values() for text in (policy.text, policy.source)
    ]
    said += [
        text for policy in CREDITABLE_POLICIES.values() for text in (policy.text, policy.source)
    ]
    for report in reports():
        said += [item["text"] for name in ("banners", "warnings") for item in report[name]]
        said += [finding["rule"] for finding in report["findings"]]
        said += [claim[name] for claim in report["refused_claims"] for name in ("why", "model")]
        said += [report["model"]["kind"]] if report["model"] else []
    untranslated = {text for text in said if of(text) == text}
    assert untranslated <= {"ART TREES equation 11 as quoted in public code"}
    assert of(SUFFICIENCY_POLICIES["iso50006-production"].text).startswith("활동량에")


def test_what_is_filled_in_is_carried_over():
    of = WORDS["ko"].of
    assert of("the baseline has at least 2 full production cycles of 7 days") == (
        "기준 기간이 7일 길이의 완전한 생산 주기를 2회 이상 포함한다"
    )
    told = of("KR-grid-to-2019: its source does not say whether grid losses are inside.")
    assert told.startswith("KR-grid-to-2019: ")


@pytest.mark.parametrize("text", ["", "Pump house", "{driver}", "No saving", "x" * 10_000])
def test_what_people_wrote_is_left_alone(text):
    assert WORDS["ko"].of(text) == text
    assert WORDS["en"].of(text) == text


def test_no_sentence_fits_the_pattern_of_another():
    for sentence in SENTENCES:
        fitting = [other for other in SENTENCES if pattern_of(other).fullmatch(sentence)]
        assert fitting == [sentence]


def figures_of(value):
    if isinstance(value, Figure):
        yield value.text
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from figures_of(item)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from figures_of(getattr(value, name))


def test_both_languages_show_the_same_figures():
    english, korean = (content(true_report().report, language) for language in LANGUAGES)
    assert sorted(figures_of(english.body)) == sorted(figures_of(korean.body))
    assert len(list(figures_of(english.body))) > 150
    assert plain(english.letterhead.lead) == plain(korean.letterhead.lead)
