"""Reports and pages that the evidence does not give, and plans nobody signed."""

from __future__ import annotations

import json
from dataclasses import replace

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex
from joulemark_agent.contract.document import document_bytes
from support.bundles import (
    true_report,
)
from support.forgeries.base import (
    a_wh_less,
    a_wh_more,
    edited_report,
    found_by,
    reporter_only,
)
from support.plant import plan_mapping, small


@found_by("report_differs")
def saving_one_wh_more():
    return reporter_only(issued=edited_report(saving__avoided_kwh=a_wh_more))


@found_by("report_differs")
def saving_one_wh_less():
    return reporter_only(issued=edited_report(saving__avoided_kwh=a_wh_less))


@found_by("report_differs")
def interval_one_wh_narrower():
    return reporter_only(issued=edited_report(saving__half_width_kwh=a_wh_less))


@found_by("report_differs")
def interval_one_wh_wider():
    return reporter_only(issued=edited_report(saving__half_width_kwh=a_wh_more))


@found_by("report_differs")
def coverage_made_whole():
    report = json.loads(true_report().report_json)
    report["coverage"][0]["covered_percent"] = "100.0000"
    edited = replace(true_report(), report=report, report_json=canonical_bytes(report))
    return reporter_only(issued=edited)


@found_by("page_differs")
def figure_of_the_page_only():
    report = json.loads(true_report().report_json)
    figure = report["carbon"]["avoided_t"].encode()
    page = true_report().report_html.replace(figure, b"9" + figure[1:])
    assert page != true_report().report_html
    return reporter_only(issued=replace(true_report(), report_html=page))


@found_by("page_differs")
def banner_taken_from_the_page():
    page = true_report().report_html.replace(b"Replayed data", b"Measured data")
    return reporter_only(issued=replace(true_report(), report_html=page))


@found_by("report_differs")
def banner_taken_from_the_report():
    return reporter_only(issued=edited_report(banners=lambda _: [], clock=lambda _: "system"))


def with_plan(**changes):
    """Another plan under the same report."""
    plan = document_bytes(plan_mapping(**changes))
    return reporter_only(
        issued=true_report(),
        plan=plan,
        predicate=lambda predicate: {**predicate, "plan": digest_hex(plan)},
    )


@found_by("report_differs")
def plan_of_another_period():
    return with_plan(reporting={"from": "2018-03-08", "to": "2018-04-01"})


@found_by("report_differs")
def plan_of_another_policy():
    return with_plan(creditable_policy="art-trees-eq11")


@found_by("report_differs")
def plan_of_another_confidence():
    return with_plan(confidence="0.8")


@found_by("plan_differs")
def plan_under_the_old_statement():
    plan = document_bytes(plan_mapping(confidence="0.8"))
    return reporter_only(
        plan=plan, predicate=lambda predicate: {**predicate, "plan": digest_hex(small().plan)}
    )


@found_by("statement_signature")
def plan_changed_and_all_computed_anew():
    return reporter_only(plan=document_bytes(plan_mapping(confidence="0.6")))


@found_by("report_differs")
def refused_batches_not_counted():
    return reporter_only(
        issued=true_report(), predicate=lambda predicate: {**predicate, "quarantined": {}}
    )
