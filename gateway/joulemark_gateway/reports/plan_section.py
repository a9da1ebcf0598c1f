"""The part of a report that tells of its plan: who signed it, since when, and what it states."""

from __future__ import annotations

from joulemark_gateway.reports.blocks import (
    Block,
    Heading,
    Mark,
    Pairs,
    Paragraph,
    Section,
    Table,
    Text,
)
from joulemark_gateway.reports.plots import Report
from joulemark_gateway.reports.sayer import Sayer, as_digest


class PlanSection(Sayer):
    """The section; of a report without the field `plan` there is none."""

    def sections(self) -> tuple[Section, ...]:
        """One or none."""
        plan = self.report.get("plan")
        if plan is None:
            return ()
        blocks: list[Block] = [Paragraph(self._said(plan["registered"]))]
        if rows := (*self._stated(plan), *self._signed(plan["registered"])):
            blocks.append(Pairs(rows))
        if plan["option"] is not None:
            blocks.append(Paragraph(self._say("ipmvp_note")))
        if plan["static_factors"]:
            blocks += [Heading(self.words["static_factors"]), self._factors(plan)]
        return (Section(self.words["plan_section"], tuple(blocks)),)

    def _said(self, registered: Report | None) -> Text:
        if registered is None:
            return self._say("plan_shown_by_nobody")
        return self._say(f"plan_shown_by_{registered['before_reporting']}")

    def _stated(self, plan: Report) -> tuple[tuple[str, Text], ...]:
        rows = (
            ("ipmvp_option", plan["option"]),
            ("measurement_boundary", plan["boundary"]),
            ("responsible", plan["responsible"]),
        )
        return tuple((self.words[key], (text,)) for key, text in rows if text is not None)

    def _signed(self, registered: Report | None) -> tuple[tuple[str, Text], ...]:
        if registered is None:
            return ()
        seen: Text = (self.words["nobody"],)
        if (one := registered["cosigned_by"]) is not None:
            seen = (f"{one['name']}, {one['time']}",)
        rows: list[tuple[str, Text]] = [
            ("plan_author", (f"{registered['author']} ({registered['role']})",)),
            ("operators_key", (Mark("code", (registered["operator"],)),)),
            ("plan_logged", (registered["logged"],)),
            ("plan_seen", seen),
            ("plan", as_digest(registered["sha256"])),
            ("plan_versions", self._n(registered["versions"])),
        ]
        return tuple((self.words[key], text) for key, text in rows)

    def _factors(self, plan: Report) -> Table:
        return Table(
            self._heads("name", "value", "unit", "source", "if_changed", "estimated"),
            tuple(
                (
                    (item["name"],),
                    self._n(item["value"]),
                    (item["unit"],),
                    (item["source"],),
                    (item["if_changed"],),
                    (self.words["yes" if item["estimated"] else "no"],),
                )
                for item in plan["static_factors"]
            ),
        )
