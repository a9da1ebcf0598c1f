"""What a report shows of how far its evidence reaches: doubt, corrections, who saw the log."""

from __future__ import annotations

from joulemark_gateway.reports.blocks import (
    Block,
    Code,
    Heading,
    Mark,
    Pairs,
    Paragraph,
    Section,
    Table,
    Text,
    plain,
)
from joulemark_gateway.reports.plots import Report
from joulemark_gateway.reports.sayer import Sayer, as_digest


class Assurance(Sayer):
    """The sections that came with the second format."""

    def sections(self) -> tuple[Section, ...]:
        """Those of a report that knows the collector's log; of an older one none."""
        if "account" not in self.report:
            return ()
        return self._reach(), self._corrections(), self._log()

    def _reach(self) -> Section:
        energy, time = self.report["coverage"][0], self.report["time_quality"]
        measured = self._say(
            "time_covered",
            covered=self._n(energy["covered_percent"]),
            estimated=self._n(energy["estimated_percent"]),
            missing=self._n(energy["missing_percent"]),
        )
        doubt = self._say(
            "energy_in_doubt",
            percent=self._n(time["unsynchronised_energy_percent"]),
            figure=self._n(time["unsynchronised_kwh"]),
            whole=self._n(time["energy_kwh"]),
        )
        unseen = self._say(
            "leaves_unseen",
            percent=self._n(time["unattested_percent"]),
            count=self._n(time["unattested"]),
            leaves=self._n(time["leaves"]),
        )
        rows = (
            (self.words["time_of_meter"], measured),
            (self.words["energy_clock_not_set"], doubt),
            (self.words["unwitnessed"], unseen),
        )
        refused = Table(
            self._heads("reason", "messages"),
            tuple(
                ((Mark("code", (code,)),), self._n(count))
                for code, count in self.report["quarantined"].items()
            ),
            self.words["nothing_refused"],
        )
        blocks = (Pairs(rows), Heading(self.words["messages_refused"]), refused)
        return Section(self.words["assurance"], blocks)

    def _corrections(self) -> Section:
        told = self.report["corrections"]
        blocks: list[Block] = [
            Paragraph(self._say("corrections_note" if told["listed"] else "nothing_corrected"))
        ]
        for item in told["listed"]:
            blocks += [Heading(self._place(item)), Pairs(self._correction(item))]
        if told["without"] is not None:
            names = ("with", "without")
            heads = self._heads("", "baseline_kwh", "reporting_kwh", "avoided_kwh", "avoided_t")
            rows = tuple(self._totals(f"{name}_corrections", told[name]) for name in names)
            blocks += [Heading(self.words["corrections_totals"]), Table(heads, rows)]
        return Section(self.words["corrections"], tuple(blocks))

    def _place(self, item: Report) -> str:
        first, last = item["first_leaf"], item["last_leaf"]
        leaves = first if first == last else f"{first}–{last}"  # noqa: RUF001 - a range
        place = self._say(
            "corrected_place", point=item["point"], leaves=leaves, tree=item["origin"]
        )
        return plain(place)

    def _correction(self, item: Report) -> tuple[tuple[str, Text], ...]:
        old, last = item["old_first"], item["old_last"]
        treatment = self.words.name("treatment", item["treatment"])
        rows: list[tuple[str, Text]] = [
            ("as_read", (old if old == last else f"{old} … {last}",)),
            ("now", self._n(item["new"]) if item["new"] is not None else (treatment,)),
            ("counts", (self.words["yes" if item["counts"] else "no"],)),
            ("head_reason", (item["reason"],)),
            ("who", (item["who"],)),
            ("operators_key", (Mark("code", (item["operator"],)),)),
            ("correction_digest", as_digest(item["digest"])),
        ]
        return tuple((self.words[key], text) for key, text in rows)

    def _totals(self, key: str, totals: Report) -> tuple[Text, ...]:
        names = ("baseline_kwh", "reporting_kwh", "avoided_kwh", "avoided_t")
        refused = totals["refused_because"]
        label: Text = (self.words[key], *((" ", *self._codes(refused)) if refused else ()))
        return (label, *(self._n(totals.get(name)) for name in names))

    def _log(self) -> Section:
        account, none = self.report["account"], self.words["nobody"]
        cosigned = [f"{row['name']}, {row['time']}" for row in account["cosigned_by"]]
        rows: list[tuple[str, Text]] = [
            (self.words["log_name"], (account["origin"],)),
            (self.words["log_leaves"], self._say(
                "of_site", leaves=self._n(account["leaves"]), all=self._n(account["size"])
            )),
            (self.words["log_closed"], (account["closed"] or none,)),
            (self.words["cosigned_by"], ("; ".join(cosigned) or none,)),
        ]  # fmt: skip
        rows += [
            (
                self.words["time_stamp"],
                self._say(
                    "stamped",
                    authority=row["authority"],
                    size=self._n(row["size"]),
                    digest=as_digest(row["sha256"]),
                ),
            )
            for row in account["time_stamps"]
        ] or [(self.words["time_stamp"], (none,))]
        code = Code(account["text"].rstrip("\n"), self.words["alt_log"])
        blocks = (Paragraph(self._say("log_note")), Pairs(tuple(rows)), code)
        return Section(self.words["log"], blocks)
