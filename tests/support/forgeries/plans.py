"""Plans in the collector's log, truly registered and not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.signature import COSIGNATURE, encode64, key_id, public_key
from joulemark_gateway.evidence.account import LogFiles
from joulemark_gateway.evidence.plans import plan_entry, signed_plan, statement_of
from support.bundles import Recipe, policy_mapping, true_report
from support.evidence import FOREIGN, KEYS, SITE
from support.forgeries.base import found_by
from support.log_recipes import LogRecipe
from support.logs import FIRM, FIRM_KEY
from support.plant import plan_mapping, small

BEFORE_US = 1_517_443_200_000_000  # 2018-02-01, a month before the reporting period
BEFORE_S = BEFORE_US // 1_000_000


def registering(
    *,
    key: bytes = KEYS.operator,
    time_us: int = BEFORE_US,
    plan: Any = None,
    project: str = "pump-house",
    **log: Any,
) -> Recipe:
    """A bundle whose plan an operator registered at this time; further arguments are the log's.

    Args:
        key: who signs it.
        time_us: when it was logged. [us]
        plan: what is different of the plan, by key.
        project: what the statement names.
        log: what is different of the log.
    """
    data = document_bytes(plan_mapping(**plan)) if plan else small().plan
    statement = statement_of(data, SITE, project, "J. Kim", "energy manager")
    early = [(time_us, [plan_entry(signed_plan(statement, key))])]
    return Recipe(plan=data if plan else None, log=LogRecipe(early=early, **log))


def one_of_the_firm() -> dict[str, Any]:
    """A policy that knows the anchor firm."""
    firm = {"name": FIRM, "key": encode64(public_key(FIRM_KEY))}
    return {**policy_mapping(), "log_witnesses": [firm]}


def with_line(name: str, key: bytes, time_s: int) -> Any:
    """The log with one more line under its first head, signed by nobody."""
    body = key_id(name, COSIGNATURE, public_key(key)) + time_s.to_bytes(8) + bytes(64)

    def change(files: LogFiles) -> LogFiles:
        first, *others = files.checkpoints
        line = f"\N{EM DASH} {name} {encode64(body)}\n"
        return replace(files, checkpoints=[first + line, *others])

    return change


def unseen_at_first(files: LogFiles) -> LogFiles:
    """The log whose first head nobody cosigned in time."""
    text, _, lines = files.checkpoints[0].rpartition("\n\n")
    own: Sequence[str] = lines.splitlines()[:1]
    return replace(files, checkpoints=[f"{text}\n\n{own[0]}\n", *files.checkpoints[1:]])


@found_by("plan_signature")
def plan_of_another_operator():
    return registering(key=FOREIGN.operator)


@found_by("plan_form")
def plan_registered_under_the_name_of_another_project():
    """So that it does not count among the plans of its own."""
    return registering(project="boiler-house")


@found_by("plan_form")
def plan_with_another_author():
    """The words are no statement any more."""
    return replace(
        registering(leaf=lambda leaf: leaf.replace(b'"author":"J. Kim"', b'"author":""')),
        issued=true_report(),
    )


@found_by("plan_cosignature", one_of_the_firm)
def plan_dated_by_a_made_up_line():
    """A line in the name of a witness, from long before, at a head that nobody else looks at."""
    return registering(cosigners={}, files=with_line(FIRM, b"x" * 32, BEFORE_S))
