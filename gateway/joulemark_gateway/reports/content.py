"""What a report shows, in which order and words: the one source of the page and of the PDF.

A pure function of the report's content. Every figure is the report's own text; how a figure, a
table or a chart looks is for `html.py` and `pdf.py` to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from joulemark_gateway.reports import plots
from joulemark_gateway.reports.assurance import Assurance
from joulemark_gateway.reports.blocks import (
    Banner,
    Beside,
    Block,
    Card,
    Cards,
    Chart,
    Charts,
    Command,
    Content,
    Facts,
    Heading,
    Items,
    Letterhead,
    Mark,
    Pairs,
    Paragraph,
    Section,
    Table,
    Text,
    plain,
)
from joulemark_gateway.reports.engine_section import EngineSection
from joulemark_gateway.reports.plan_section import PlanSection
from joulemark_gateway.reports.plots import Report
from joulemark_gateway.reports.sayer import Sayer, as_digest
from joulemark_gateway.reports.words import WORDS, Language

_MOST_EVENTS = 60  # of counters, printed
_MOST_ROWS = 500  # of gaps, and of missing intervals, printed
_LISTED = 6  # missing intervals shown under the calendar


def content(report: Report, language: Language) -> Content:
    """What a report shows in this language."""
    return _Writer(report, WORDS[language]).content()


class _Writer(Sayer):
    def content(self) -> Content:
        project = self.report["project"]
        body = (
            self._headline() if self.report["headline"] else self._no_headline(),
            self._facts(),
            self._charts(),
            self._saving(),
            self._engine.beside_saving(),
            self._refused_claims(),
            self._model(),
            self._engine.behind_model(),
            self._rules(),
            self._periods(),
            self._coverage(),
            self._holes(),
            self._factors(),
            self._evidence(),
            PlanSection(self.report, self.words).sections(),
            Assurance(self.report, self.words).sections(),
            self._limits(),
            self._check(),
        )
        return Content(
            self.words.language,
            plain(self._say("title", title=project["title"])),
            tuple(self._banner(banner) for banner in self.report["banners"]),
            self._letterhead(),
            tuple(group for group in body if group),
        )

    @property
    def unit(self) -> str:
        """Hour or day: what the model is fitted by."""
        unit: str = self.report["project"]["unit"]
        return unit

    @property
    def _engine(self) -> EngineSection:
        return EngineSection(self.report, self.words)

    # parts

    def _banner(self, banner: Report) -> Banner:
        name, colon, rest = self._of(banner["text"]).partition(":")
        return Banner(banner["code"], name, colon + rest)

    def _letterhead(self) -> Letterhead:
        project = self.report["project"]
        measure = project["measure"]
        return Letterhead(
            self.words["reduction_report"],
            project["title"],
            self._say("measure", name=measure["name"], description=measure["description"]),
            self._say(
                "about",
                site=project["site"],
                project=project["id"],
                implemented=measure["implemented"],
                issued=self.report["issued"],
            ),
        )

    def _headline(self) -> tuple[Cards]:
        head, reporting = self.report["headline"], self.report["periods"]["reporting"]
        confidence = self._n(head["confidence_percent"])
        policy = self._say("policy", policy=head["sufficiency_policy"])
        share = self._say(
            "share_of_prediction",
            percent=self._n(head["avoided_percent"]),
            confidence=confidence,
            first=self._n(reporting["from"]),
            last=self._n(reporting["last_day"]),
        )
        lines: list[tuple[Literal["", "policy", "doubt"], Text]] = [("", share), ("policy", policy)]
        if not head["distinguishable_from_zero"]:
            lines.append(("doubt", self._say("doubt")))
        if overridden := self._engine.overridden():
            lines.append(("doubt", overridden))
        half_kwh = self._say("half_width_kwh", figure=self._n(head["half_width_kwh"]))
        half_t = self._say("half_width_t", figure=self._n(head["half_width_t"]))
        credited = self._of(self.report["creditable"]["policy"]["text"])
        return (
            Cards(
                (
                    Card(
                        "main",
                        self.words["avoided_energy"],
                        (*self._n(head["avoided_kwh"]), " ", Mark("small", half_kwh)),
                        tuple(lines),
                    ),
                    Card(
                        "",
                        self.words["avoided_co2e"],
                        (*self._n(head["avoided_t"]), " ", Mark("small", half_t)),
                        (
                            ("", self._say("factor_included", confidence=confidence)),
                            ("policy", policy),
                        ),
                    ),
                    Card(
                        "",
                        self.words["creditable"],
                        (
                            *self._n(head["creditable_t"]),
                            " ",
                            Mark("small", self._say("t_co2e")),
                        ),
                        (
                            ("", (credited,)),
                            ("policy", self._say("policy", policy=head["creditable_policy"])),
                        ),
                    ),
                )
            ),
        )

    def _no_headline(self) -> tuple[Cards]:
        policy = self.report["policy"]
        used = self._say("policy", policy=f"{policy['id']} {policy['version']}")
        failed = [finding for finding in self.report["findings"] if not finding["passed"]]
        card = Card(
            "refused",
            self.words["no_saving"],
            self._say("refused"),
            (("policy", used),),
            tuple(self._rule_failed(finding) for finding in failed),
        )
        return (Cards((card,)),)

    def _rule_failed(self, finding: Report) -> Text:
        low, high = finding["at_least"], finding["at_most"]
        limits = [
            self._say(key, figure=self._n(limit))
            for key, limit in (("at_least_figure", low), ("at_most_figure", high))
            if limit is not None
        ]
        wanted: Text = ()
        if len(limits) == 1:
            wanted = self._say("wanted", limit=limits[0])
        elif limits:
            wanted = self._say("wanted_both", low=limits[0], high=limits[1])
        return self._say(
            "rule_failed",
            code=Mark("code", (finding["code"],)),
            subject=self._subject(finding["subject"]),
            rule=self._of(finding["rule"]),
            seen=self._n(finding["seen"]),
            unit=self._unit(finding),
            wanted=wanted,
        )

    def _unit(self, finding: Report) -> str:
        return "" if finding["unit"] == "1" else self._of(finding["unit"])

    def _facts(self) -> tuple[Facts]:
        energy, time = self.report["coverage"][0], self.report["time_quality"]
        refused = ", ".join(f"{code} {n}" for code, n in self.report["quarantined"].items())
        doubt = ("clock_not_set", time["unsynchronised_percent"])
        if "unsynchronised_energy_percent" in time:
            doubt = ("energy_clock_not_set", time["unsynchronised_energy_percent"])
        shares = [
            ("measured", energy["covered_percent"]),
            ("estimated", energy["estimated_percent"]),
            ("missing", energy["missing_percent"]),
            doubt,
            ("unwitnessed", time["unattested_percent"]),
        ]
        rows = [
            (self.words[key], self._say("percent_of", figure=self._n(value)))
            for key, value in shares
        ]
        batches = self._n(refused or self.words["none"])
        return (Facts((*rows, (self.words["batches_refused"], batches))),)

    def _charts(self) -> tuple[Charts, ...]:
        drawn = (
            (
                plots.driver_chart(self.report),
                plots.energy_on_driver,
                ("baseline", "reporting", "model"),
            ),
            ("time", plots.energy_over_time, ("baseline", "reporting", "predicted")),
            ("sum", plots.cumulative, ("total", "band")),
            ("calendar", plots.calendar, ("measured", "estimated", "missing", "out")),
        )
        charts = tuple(
            Chart(
                self.words[f"chart_{name}"],
                self.words[f"alt_{name}"],
                tuple((key, self.words[f"key_{key}"]) for key in keys),
                svg,
            )
            for name, plot, keys in drawn
            if (svg := plot(self.report, self.words))
        )
        notes = [
            self._say(
                "hole",
                point=span["point"],
                start=self._n(span["start"]),
                end=self._n(span["end"]),
                reasons=self._codes(span["reasons"]),
            )
            for span in self.report["missing"][:_LISTED]
        ]
        if len(self.report["missing"]) > _LISTED:
            notes.append(self._say("more_holes"))
        return (Charts(charts, tuple(notes)),) if charts else ()

    def _saving(self) -> tuple[Beside | Section, ...]:
        saving = self.report["saving"]
        if saving is None:
            return ()
        note = plain(self._say("policy", policy=saving["policy"]))
        split = Section(
            self.words["why_changed"],
            (
                self._split_table(),
                Paragraph(self._say("why_changed_note")),
                *self._engine.without_events(),
            ),
        )
        return (
            Beside(Section(self.words["saving"], (self._saving_table(),), note), split),
            Section(
                self.words["months_title"],
                (
                    self._months_table(),
                    Paragraph(self._say("months_note")),
                    *self._engine.without_events(),
                ),
            ),
        )

    def _saving_table(self) -> Table:
        saving, carbon = self.report["saving"], self.report["carbon"]
        credit = self.report["creditable"]
        used = f"{credit['policy']['id']} {credit['policy']['version']}"
        half = self._say("half_width_row", percent=self._n(saving["confidence_percent"]))
        interval = self._say(
            "from_to", start=self._n(saving["low_kwh"]), end=self._n(saving["high_kwh"])
        )
        rows: list[tuple[Text, Text, Text]] = [
            (self._say("prediction"), self._n(saving["counterfactual_kwh"]), ()),
            (self._say("measured_row"), self._n(saving["measured_kwh"]), ()),
            *self._engine.worth_of_events(),
            (
                (Mark("strong", self._say("avoided_row")),),
                self._n(saving["avoided_kwh"]),
                self._n(carbon["avoided_t"]),
            ),
            (half, self._n(saving["half_width_kwh"]), self._n(carbon["half_width_t"])),
            (self._say("interval_row"), interval, ()),
            (self._engine.from_energy(), (), self._n(carbon["from_energy_t"])),
            (self._say("from_factor_row"), (), self._n(carbon["from_factor_t"])),
            (
                (Mark("strong", self._say("creditable_row")), " ", Mark("small", (used,))),
                self._n(credit["creditable_kwh"]),
                self._n(credit["creditable_t"]),
            ),
        ]
        if saving["without_exclusions_kwh"] is not None:
            label = self._say("without_exclusions_row")
            rows.append((label, self._n(saving["without_exclusions_kwh"]), ()))
        if overridden := self._engine.overridden():
            rows.append((overridden, (), ()))
        return Table(self._heads("", "energy_kwh", "co2e_t"), tuple(rows))

    def _split_table(self) -> Table:
        split, units = self.report["split"], self.words.name("units", self.unit)
        rows = [
            (
                self._say(f"{name}_kept_row", count=self._n(split[f"{name}_units"]), units=units),
                self._n(split[f"{name}_kwh"]),
            )
            for name in ("baseline", "reporting")
        ]
        rows += [
            (self._say(f"{name}_row"), self._n(split[f"{name}_kwh"]))
            for name in ("change", "activity", "efficiency")
        ]
        return Table(("", "kWh"), tuple(rows))

    def _months_table(self) -> Table:
        names = (
            "month", "kept", "masked", "counterfactual_kwh", "measured_kwh", "avoided_kwh",
            "half_width_kwh",
        )  # fmt: skip
        head = self._heads(
            "month", "kept", "masked", "predicted_kwh", "measured_kwh", "avoided_kwh", "half_width"
        )
        return Table(
            head,
            tuple(tuple(self._n(month[name]) for name in names) for month in self.report["months"]),
        )

    def _refused_claims(self) -> tuple[Section, ...]:
        claims = self.report["refused_claims"]
        if not claims:
            return ()
        rows = tuple(
            (
                (self._of(claim["model"]),),
                (Mark("code", (claim["code"],)),),
                self._n(claim["predicted_kwh"]),
                self._n(claim["measured_kwh"]),
                (Mark("struck", self._n(claim["would_have_claimed_kwh"])),),
                (Mark("struck", self._n(claim["would_have_claimed_percent"])),),
            )
            for claim in claims
        )
        head = self._heads(
            "model", "refused", "predicted_kwh", "measured_kwh", "would_kwh", "would_percent"
        )
        whys = tuple(
            Paragraph(
                self._say(
                    "refused_by",
                    why=self._of(claim["why"]),
                    policy=f"{claim['by']} {claim['version']}",
                )
            )
            for claim in claims
        )
        title = self.words["refused_models"]
        return (Section(title, (Table(head, rows), *whys), kind="refused"),)

    def _model(self) -> tuple[Section, ...]:
        model = self.report["model"]
        if model is None:
            return ()
        terms = Table(
            self._heads("term", "value", "unit", "standard_error", "t", "p", "vif"),
            tuple(
                (
                    (self._engine.term(term["name"]),),
                    self._n(term["value"]),
                    (term["unit"],),
                    self._n(term["standard_error"]),
                    self._n(term["t_value"]),
                    self._n(term["p_value"]),
                    self._n(term["vif"]),
                )
                for term in model["coefficients"]
            ),
            self.words["none"],
        )
        ranges = Table(
            self._heads(
                "driver", "baseline_from", "baseline_to", "mean", "sd", "reporting_mean", "unit",
                "outside_percent",
            ),
            tuple(
                (
                    (driver["name"],),
                    self._n(driver["baseline_min"]),
                    self._n(driver["baseline_max"]),
                    self._n(driver["baseline_mean"]),
                    self._n(driver["baseline_sd"]),
                    self._n(driver["reporting_mean"]),
                    (driver["unit"],),
                    self._n(driver["outside_percent"]),
                )
                for driver in model["drivers"]
            ),
        )  # fmt: skip
        unit = self.words.name("unit", model["unit"])
        note = self._say("model_note", kind=self._engine.kind(model["kind"]), unit=unit)
        fit = Pairs((*self._fit(model), *self._engine.fit()))
        blocks = (*self._engine.equation(), Paragraph(note), terms, fit, ranges)
        return (Section(self.words["baseline_model"], blocks),)

    def _fit(self, model: Report) -> tuple[tuple[str, Text], ...]:
        n = self._n
        rows = [
            ("units_terms", self._say("two_figures", one=n(model["n"]), two=n(model["p"]))),
            ("r2_adjusted", n(model["adjusted_r2"])),
            ("r2_predicted", n(model["press_r2"])),
            ("cv_rmse", self._say("percent_of", figure=n(model["cv_rmse_percent"]))),
            ("nmbe", self._say("percent_of", figure=n(model["nmbe_percent"]))),
            ("residual_sd", self._say("kwh", figure=n(model["residual_sd_kwh"]))),
            (
                "lag_correlation",
                self._say("lag_used", rho=n(model["rho"]), used=n(model["rho_used"])),
            ),
            ("effective_units", n(model["effective_n"])),
            ("high_leverage", self._say("percent_of", figure=n(model["high_leverage_percent"]))),
        ]
        return tuple((self.words[key], value) for key, value in rows)

    def _rules(self) -> tuple[Section]:
        policy = self.report["policy"]
        rows = tuple(
            (
                (
                    Mark("holds", self._say("holds"))
                    if finding["passed"]
                    else Mark("fails", self._say("fails")),
                ),
                (Mark("code", (finding["code"],)),),
                self._say(
                    "rule_of",
                    subject=self._subject(finding["subject"]),
                    rule=self._of(finding["rule"]),
                ),
                self._say("with_unit", figure=self._n(finding["seen"]), unit=self._unit(finding)),
                self._n(finding["at_least"]),
                self._n(finding["at_most"]),
            )
            for finding in self.report["findings"]
        )
        table = Table(self._heads("", "code", "rule", "seen", "at_least", "at_most"), rows)
        text = self._say(
            "policy_text", text=self._of(policy["text"]), source=self._of(policy["source"])
        )
        note = f"{policy['id']} {policy['version']}"
        blocks = (Paragraph(text), table, *self._engine.behind_rules())
        return (Section(self.words["rules"], blocks, note),)

    def _periods(self) -> tuple[Section]:
        rows = []
        for name, period in self.report["periods"].items():
            made: Text = ()
            for item in period["kept_drivers"]:
                amount = self._say(
                    "driver_amount",
                    name=item["name"],
                    figure=self._n(item["value"]),
                    unit=item["unit"],
                )
                made = (*made, ", ", *amount) if made else amount
            rows.append(
                (
                    (self.words.name("period", name),),
                    self._say(
                        "from_to", start=self._n(period["from"]), end=self._n(period["last_day"])
                    ),
                    self._say(
                        "kept_of", kept=self._n(period["kept"]), all=self._n(period["units"])
                    ),
                    self._n(period["energy_kwh"]),
                    self._n(period["kept_energy_kwh"]),
                    made or self._say("none"),
                    self._n(period["covered_percent"]),
                    self._n(period["missing_percent"]),
                )
            )
        units_kept = self._say("head_units_kept", units=self.words.name("units", self.unit))
        head = (
            *self._heads("period", "local_days"),
            plain(units_kept),
            *self._heads(
                "metered_kwh", "kept_kwh", "kept_drivers", "measured_percent", "missing_percent"
            ),
        )
        return (Section(self.words["periods"], (Table(head, tuple(rows)),)),)

    def _coverage(self) -> tuple[Section]:
        mark: Text = (" ", Mark("synthetic", self._say("synthetic")))
        rows = tuple(
            (
                (stream["name"], *(mark if stream["synthetic"] else ())),
                (f"{stream['device']} {stream['point']}",),
                self._slots(stream, stream["readings"]),
                self._n(stream["covered_percent"]),
                self._n(stream["estimated_percent"]),
                self._n(stream["missing_percent"]),
                self._n(stream["counter_fell"]),
                self._n(stream["false_zeros"]),
            )
            for stream in self.report["coverage"]
        )
        head = self._heads(
            "stream", "point", "slots", "measured_percent", "estimated_percent",
            "missing_percent", "fell", "false_zeros",
        )  # fmt: skip
        return (Section(self.words["coverage"], (Table(head, rows),)),)

    def _slots(self, row: Mapping[str, str], readings: str) -> Text:
        """The slots of a stream or tree as a sum, with the parts that few have where they do."""
        names = {"slots": row["slots"], "readings": readings, "gaps": row["gap_slots"]}
        away = {name: row.get(name, "0") for name in ("withheld", "lost")}
        if set(away.values()) == {"0"}:
            return self._say("slots_sum", **{name: self._n(n) for name, n in names.items()})
        return self._say(
            "slots_sum_withheld", **{name: self._n(n) for name, n in (names | away).items()}
        )

    def _holes(self) -> tuple[Section, ...]:
        say, words = self._say, self.words
        parts_head = (
            *self._heads("period"),
            words.name("head", self.unit),
            *self._heads("measured_percent", "metered_kwh", "reason"),
        )
        masked = Table(parts_head, self._parts("masked"), words["nothing_left_out"])
        partial = Table(parts_head, self._parts("partial"), words["no_units_in_part"])
        return (
            Section(
                words["missing_intervals"],
                (*self._listed("missing_note", self.report["missing"]), self._missing_table()),
            ),
            *self._counter_events(),
            Section(
                words["gaps"], (*self._listed("gaps_note", self.report["gaps"]), self._gaps_table())
            ),
            Section(words["units_left_out"], (Paragraph(say("units_left_out_note")), masked)),
            Section(words["units_in_part"], (Paragraph(say("units_in_part_note")), partial)),
            Section(words["exclusions"], (self._exclusions_table(),)),
        )

    def _missing_table(self) -> Table:
        return Table(
            self._heads("point", "from", "to", "hours", "known", "reason"),
            tuple(
                (
                    (f"{span['device']} {span['point']}",),
                    self._n(span["start"]),
                    self._n(span["end"]),
                    self._n(span["hours"]),
                    (self._of(span["known"]),),
                    self._codes(span["reasons"]),
                )
                for span in self.report["missing"][:_MOST_ROWS]
            ),
            self.words["nothing_missing"],
        )

    def _listed(self, note: str, rows: Sequence[object]) -> tuple[Paragraph, ...]:
        """The note of a table, and how many rows are printed where it has too many."""
        notes = [self._say(note)]
        if len(rows) > _MOST_ROWS:
            n, in_all = self._n(str(_MOST_ROWS)), self._n(str(len(rows)))
            notes.append(self._say("first_rows", n=n, in_all=in_all))
        return tuple(Paragraph(text) for text in notes)

    def _counter_events(self) -> tuple[Section, ...]:
        events = self.report["counter_events"]
        if not events:
            return ()
        table = Table(
            self._heads("point", "from", "to", "event", "count_before", "count_after", "booked"),
            tuple(
                (
                    (f"{event['device']} {event['point']}",),
                    self._n(event["start"]),
                    self._n(event["at"]),
                    self._codes([event["code"]]),
                    self._n(event["before"]),
                    self._n(event["after"]),
                    self._n(event["booked"]),
                )
                for event in events[:_MOST_EVENTS]
            ),
        )
        listed = {
            "n": self._n(str(min(len(events), _MOST_EVENTS))),
            "in_all": self._n(self.report["counter_events_in_all"]),
        }
        note = Paragraph(self._say("counter_events_note", **listed))
        return (Section(self.words["counter_events"], (note, table)),)

    def _gaps_table(self) -> Table:
        return Table(
            self._heads("device", "first_slot", "last_slot", "slot_count", "cause"),
            tuple(
                (
                    (gap["device"],),
                    self._n(gap["first_slot"]),
                    self._n(gap["last_slot"]),
                    self._n(gap["slots"]),
                    (gap["cause"],),
                )
                for gap in self.report["gaps"][:_MOST_ROWS]
            ),
            self.words["no_gaps"],
        )

    def _exclusions_table(self) -> Table:
        return Table(
            self._heads("id", "from", "before", "cause", "author", "approved", "evidence"),
            tuple(
                (
                    (item["id"],),
                    self._n(item["from"]),
                    self._n(item["to_exclusive"]),
                    (item["cause"],),
                    (item["author"],),
                    (item["approval"],),
                    as_digest(item["evidence_sha256"]),
                )
                for item in self.report["exclusions"]
                if item["treatment"] == "exclude"  # others have a value, and a section
            ),
            self.words["nothing_excluded"],
        )

    def _parts(self, name: str) -> tuple[tuple[Text, ...], ...]:
        return tuple(
            (
                (self.words.name("period", row["period"]),),
                self._n(row["unit"]),
                self._n(row["covered_percent"]),
                self._n(row["energy_kwh"]),
                self._codes(row["reasons"]),
            )
            for row in self.report[name]
        )

    def _factors(self) -> tuple[Section, ...]:
        blocks: list[Block] = []
        for factor in self.report["factors"]:
            value = self._say("factor_value", figure=self._n(factor["factor_kg_per_kwh"]))
            doubt = self._say("percent_of", figure=self._n(factor["standard_uncertainty_percent"]))
            applied = self._say(
                "applied",
                energy=self._n(factor["avoided_kwh"]),
                first=factor["first_day"],
                last=factor["last_day"],
                mass=self._n(factor["avoided_t"]),
            )
            valid = self._say(
                "valid_from_to", start=factor["valid_from"], end=factor["valid_to_exclusive"]
            )
            rows: list[tuple[str, Text]] = [
                ("factor", value),
                ("standard_uncertainty", doubt),
                ("uncertainty_from", (factor["uncertainty_source"],)),
                ("boundary", (factor["boundary"],)),
                ("rule_sets", (", ".join(factor["rule_sets"]),)),
                ("valid", valid),
                ("published", (factor["published"],)),
                ("source", (factor["source"],)),
                ("applied_to", applied),
            ]
            pairs = tuple((self.words[key], text) for key, text in rows)
            blocks += [Heading(factor["id"]), Pairs(pairs)]
        return (Section(self.words["factors"], tuple(blocks)),) if blocks else ()

    def _evidence(self) -> tuple[Section]:
        blocks: list[Block] = []
        for tree in self.report["evidence"]:
            blocks += [Heading(tree["origin"]), Pairs(self._tree(tree))]
        software = self.report["software"]
        more = (
            (self.words["plan"], as_digest(self.report["plan_sha256"])),
            (self.words["software"], (f"{software['name']} {software['version']}",)),
            (self.words["its_source"], as_digest(software["source_sha256"])),
        )
        blocks += [Heading(self.words["plan_and_software"]), Pairs(more)]
        return (Section(self.words["evidence"], tuple(blocks)),)

    def _tree(self, tree: Report) -> tuple[tuple[str, Text], ...]:
        n, none = self._n, self.words["none"]
        profile = tree["profile"]
        known = self._say(
            "known_by",
            model=profile["model"],
            confidence=profile["confidence"],
            source=profile["source"],
        )
        rows: list[tuple[str, Text]] = [
            (
                "leaves",
                self._say("from_to", start=n(tree["first_leaf"]), end=n(tree["last_leaf"])),
            ),
            ("size", n(tree["size"])),
            ("root", as_digest(tree["root"])),
            ("signed_heads", n(tree["heads"])),
            ("slots_pair", self._slots(tree, tree["records"])),
            ("from", (tree["first_slot"] or none,)),
            ("to", (tree["last_slot"] or none,)),
            ("clock", (tree["clock"],)),
            ("agent", (tree["agent"],)),
            ("agents_key", (Mark("code", (tree["agent_key"],)),)),
            ("profile", known),
        ]
        named = [(self.words[key], text) for key, text in rows]
        named += [
            (plain(self._say("document_of", name=name)), as_digest(digest))
            for name, digest in sorted(tree["documents"].items())
        ]
        return tuple(named)

    def _limits(self) -> tuple[Section, ...]:
        warnings = tuple(
            self._say("warning", code=Mark("code", (item["code"],)), text=self._of(item["text"]))
            for item in self.report["warnings"]
        )
        limits = tuple((self._of(item["text"]),) for item in self.report["limits"])
        shown = Section(self.words["limits"], (Items(limits),))
        return (
            (Section(self.words["warnings"], (Items(warnings),)), shown) if warnings else (shown,)
        )

    def _check(self) -> tuple[Section]:
        blocks: list[Block] = [
            Paragraph(self._say("check_note")),
            Command("joulemark verify bundle.zip --policy policy.json"),
            Paragraph(self._say("plan_digest", digest=as_digest(self.report["plan_sha256"]))),
        ]
        if translated := self._say("translated"):
            blocks.append(Paragraph(translated))
        return (Section(self.words["check"], tuple(blocks), kind="check"),)
