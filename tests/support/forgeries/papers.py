"""Documents and grants that were never approved."""

from __future__ import annotations

import dataclasses

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.profile import Profile
from support import evidence
from support.bundles import (
    Recipe,
    groups_of,
    true_report,
)
from support.evidence import COUNTER, FOREIGN, KEYS, METER, opening
from support.forgeries.base import (
    FACTORS,
    PROFILE,
    decoded_again,
    forged_document,
    found_by,
    reporter_only,
)
from support.plant import small


@found_by("document_missing")
def emission_factor():
    def change(content):
        content["factors"][-1]["factor_kg_per_kwh"] = "0.9"

    return reporter_only(documents=forged_document(FACTORS, change))


@found_by("document_changed")
def older_factor_table():
    older = document_bytes({**evidence.factor_mapping("korea"), "factor_set": "korea-older"})

    def name_it(_, fields):
        return {**fields, "documents": {**fields["documents"], "factors": digest_hex(older)}}

    documents_ = {digest_hex(older): older}
    return Recipe(owner=FOREIGN, sealing={"envelope": name_it}, documents=documents_)


@found_by("document_unused")
def further_document():
    older = canonical_bytes({"factor_set": "other"})
    return reporter_only(documents={digest_hex(older): older})


def with_profile(change, **more):
    """A forged profile, and every record decoded with it."""
    forged = forged_document(PROFILE, change)
    profile = Profile.model_validate(parse_canonical(forged[PROFILE]))
    groups = groups_of(METER)
    for group in groups:
        for leaf in group:
            if "raw" in leaf:
                decoded_again(leaf, profile)
    return Recipe(owner=FOREIGN, groups={METER: groups}, documents=forged, **more)


@found_by("document_missing")
def scale_in_the_profile():
    return with_profile(lambda content: content["points"][0].update(scale="2"))


@found_by("document_missing")
def word_order_in_the_profile():
    return with_profile(
        lambda content: content["points"][0].update(word_order="little"), issued=true_report()
    )


@found_by("decode_mismatch")
def scale_in_the_profile_only():
    def change(content):
        content["points"][0]["scale"] = "2"

    return reporter_only(documents=forged_document(PROFILE, change))


@found_by("site_differs")
def grant_for_another_clock_than_the_site():
    groups = groups_of(METER)
    site = dataclasses.replace(small().site, clock="system")
    groups[0][:2] = opening(site, METER, FOREIGN)
    return Recipe(owner=FOREIGN, groups={METER: groups}, issued=true_report())


def approved(change, **fields):
    """Another site document, approved by the true operator; further fields for every envelope."""
    content = parse_canonical(small().site.site)
    change(content)
    site = dataclasses.replace(small().site, site=canonical_bytes(content))
    groups = {device: groups_of(device) for device in (METER, COUNTER)}
    for device, made in groups.items():
        made[0][:2] = opening(site, device, KEYS)
    digest = digest_hex(site.site)

    def name_it(_, true):
        return {**true, "documents": {**true["documents"], "site": digest}, **fields}

    return Recipe(
        groups=groups,
        sealing={"envelope": name_it},
        documents={digest: site.site},
        issued=true_report(),
    )


@found_by("bad_document")
def site_that_does_not_say_which_factors_apply():
    """Then nobody could compute the energy and CO2e of its envelopes again."""
    return approved(lambda content: content["factors"].pop("rule_set"), energy={"wh": "1"})


@found_by("bad_document")
def site_that_says_two_things_of_a_device():
    """One reader takes the first row, another the last."""

    def add(content):
        first = content["devices"][0]
        content["devices"].insert(0, {**first, "maximum_power_w": 1})

    return approved(add)


@found_by("bad_document")
def site_whose_period_is_a_text():
    """Where one language reads 900, and another nothing."""

    def change(content):
        for row in content["devices"]:
            row["period_s"] = "900"

    return approved(change)
