"""The parts of a report that a plan with a model gives: its equation, what it rests on, a unit."""

from __future__ import annotations

from joulemark_gateway.reports.blocks import (
    Block,
    Command,
    Heading,
    Mark,
    Pairs,
    Paragraph,
    Section,
    Table,
    Text,
    plain,
)
from joulemark_gateway.reports.equation import equation_lines, part_words
from joulemark_gateway.reports.plots import Report
from joulemark_gateway.reports.sayer import Sayer, as_digest

_MOST_LOOKED = 12  # models beside the chosen one, printed


class EngineSection(Sayer):
    """Each part is empty for a report without the field `engine`."""

    @property
    def engine(self) -> Report | None:
        """The field."""
        found: Report | None = self.report.get("engine")
        return found

    def term(self, name: str) -> str:
        """What a term of the model is called."""
        return self._of(name) if self.engine is None else part_words(name, self.words)

    def kind(self, kind: str) -> str:
        """What a method is called, with its id."""
        if self.engine is None:
            return self._of(kind)
        family = "time-of-week" if kind.startswith("time-of-week") else kind
        family = "divided" if kind.startswith(("season-", "week-")) else family
        return plain(self._say("method_with_id", name=self.words.name("method", family), id=kind))

    def overridden(self) -> Text:
        """Whose decision the figures are, where rules were passed over."""
        override = None if self.engine is None else self.engine["override"]
        if override is None or not override["passed_over"]:
            return ()
        return self._say(
            "stated_by_override",
            author=override["author"],
            codes=Mark("code", self._codes(override["passed_over"])),
            reason=override["reason"],
        )

    def worth_of_events(self) -> tuple[tuple[Text, Text, Text], ...]:
        """The row of what is added for events, where there are any with a value."""
        totals = None if self.engine is None else self.engine["with_and_without_events"]
        if totals is None:
            return ()
        return (
            (self._say("from_events"), self._n(totals["value_kwh"]), self._n(totals["value_t"])),
        )

    def from_energy(self) -> Text:
        """What the uncertainty of the energy holds."""
        parts = None if self.engine is None else self.engine["uncertainty"]
        is_plain = parts is None or (parts["meter"] is None and parts["events"] is None)
        return self._say("from_energy_row" if is_plain else "from_all_energy_row")

    def without_events(self) -> tuple[Paragraph, ...]:
        """That a table leaves the events out, where there are any with a value."""
        if not self.worth_of_events():
            return ()
        return (Paragraph(self._say("without_events_note")),)

    def beside_saving(self) -> tuple[Section, ...]:
        """What the saving rests on and what happened besides."""
        if self.engine is None:
            return ()
        return (*self._sureness(self.engine), *self._events(self.engine))

    def equation(self) -> tuple[Block, ...]:
        """The equation, to recompute with."""
        if self.engine is None or self.engine["equation"] is None:
            return ()
        lines = equation_lines(self.engine["equation"], self.words)
        return (
            Paragraph(
                self._say("equation_note", unit=self._unit_word(self.report["project"]["unit"]))
            ),
            *(Command(line) for line in lines),
            *self._points(self.engine["equation"]),
        )

    def fit(self) -> tuple[tuple[str, Text], ...]:
        """Further figures of the fit."""
        if self.engine is None:
            return ()
        rows = [("bic", self._n(self.engine["bic"]))]
        if self.engine["levels"]:
            rows.append(("levels", self._n(self.engine["equation"]["levels"])))
        return tuple((self.words[key], text) for key, text in rows)

    def behind_model(self) -> tuple[Section, ...]:
        """One unit by hand, and the models that were looked at."""
        if self.engine is None or self.report["model"] is None:
            return ()
        return (*self._worked(self.engine), *self._looked(self.engine))

    def behind_rules(self) -> tuple[Block, ...]:
        """What is told and refuses nothing, and the other policies that judged."""
        if self.engine is None:
            return ()
        blocks: list[Block] = []
        if told := self.engine["told"]:
            rows = tuple(
                (
                    (Mark("code", (one["code"],)),),
                    self._say(
                        "rule_of", subject=self._subject(one["subject"]), rule=self._of(one["rule"])
                    ),
                    self._n(one["seen"]),
                    self._n(one["at_most"] if one["at_most"] is not None else one["at_least"]),
                )
                for one in told
            )
            head = self._heads("code", "rule", "seen", "limit")
            blocks += [Heading(self.words["told"]), Table(head, rows)]
        for policy in self.engine["policies"]:
            text = self._say(
                "policy_text", text=self._of(policy["text"]), source=self._of(policy["source"])
            )
            blocks += [Heading(f"{policy['id']} {policy['version']}"), Paragraph(text)]
        return tuple(blocks)

    # parts

    def _sureness(self, engine: Report) -> tuple[Section, ...]:
        parts = engine["uncertainty"]
        if parts is None:
            return ()
        rows = tuple(
            (
                (Mark("strong", self._say(f"from_{name}")),)
                if name == "combined"
                else self._say(f"from_{name}"),
                self._n(parts[name]["kwh"]),
                self._n(parts[name]["t"]),
                self._n(parts[name]["variance_percent"]),
            )
            for name in ("model", "meter", "events", "factor", "combined")
            if parts[name] is not None
        )
        table = Table(self._heads("source_of_doubt", "u_kwh", "u_t", "variance_percent"), rows)
        blocks = [
            table,
            Paragraph(self._say("uncertainty_note")),
            *self._detectable(engine),
            *self._meter(engine["meter"]),
            *self._changes(engine),
        ]
        note = plain(self._say("policy", policy=parts["policy"]))
        return (Section(self.words["uncertainty"], tuple(blocks), note),)

    def _detectable(self, engine: Report) -> tuple[Block, ...]:
        least = engine["detectable_percent"]
        if least is None:
            return ()
        reporting = self.report["periods"]["reporting"]
        said = self._say(
            "detectable",
            percent=self._n(least),
            n=self._n(reporting["kept"]),
            units=self.words.name("units", self.report["project"]["unit"]),
            confidence=self._n(self.report["project"]["confidence_percent"]),
        )
        return (Paragraph(said),)

    def _meter(self, meter: Report | None) -> tuple[Block, ...]:
        if meter is None:
            return (Paragraph(self._say("meter_not_stated")),)
        rows = [self._accuracy("meter", meter)]
        if meter["baseline"] is not None:
            rows.append(self._accuracy("baseline_meter", meter["baseline"]))
        rows += [
            (self.words[key], self._say("kwh", figure=self._n(meter[name])))
            for key, name in (("bias_limit", "bias_limit_kwh"), ("bias_u", "bias_u_kwh"),
                              ("random_u", "random_u_kwh"))
            if meter[name] is not None
        ]  # fmt: skip
        note = "meter_note" if meter["baseline"] is None else "two_meters_note"
        return (Heading(self.words["meter_head"]), Pairs(tuple(rows)), Paragraph(self._say(note)))

    def _accuracy(self, key: str, meter: Report) -> tuple[str, Text]:
        said = self._say(
            "meter_stated",
            limit=self._n(meter["limit_percent"]),
            random=self._n(meter["random_percent"]),
            source=meter["source"],
        )
        return self.words[key], said

    def _changes(self, engine: Report) -> tuple[Block, ...]:
        if not (changes := engine["changes"]):
            return ()
        unit = self.report["project"]["unit"]
        rows = tuple(
            (
                self._n(one["unit"]),
                self._n(one["shift_kwh"]),
                (one["event"],)
                if one["event"] is not None
                else (Mark("fails", self._say("no_event")),),
            )
            for one in changes
        )
        head = (
            *self._heads("from"),
            plain(self._say("head_shift", unit=self.words.name("unit", unit))),
            *self._heads("explained_by"),
        )
        note = Paragraph(self._say("changes_note"))
        return (Heading(self.words["changes"]), Table(head, rows), note)

    def _events(self, engine: Report) -> tuple[Section, ...]:
        if not (events := engine["events"]):
            return ()
        blocks: list[Block] = []
        for event in events:
            blocks += [Heading(event["id"]), Pairs(self._event(event))]
        if (totals := engine["with_and_without_events"]) is not None:
            rows = tuple(
                (
                    self._say(f"{name}_events"),
                    *(self._n(totals[name][key]) for key in ("avoided_kwh", "half_width_kwh",
                                                             "avoided_t")),
                )
                for name in ("without", "with")
            )  # fmt: skip
            head = self._heads("", "avoided_kwh", "half_width", "avoided_t")
            blocks += [Heading(self.words["events_totals"]), Table(head, rows)]
            blocks.append(Paragraph(self._say("events_note")))
        return (Section(self.words["events"], tuple(blocks)),)

    def _event(self, event: Report) -> tuple[tuple[str, Text], ...]:
        days = self._say("from_to", start=self._n(event["from"]), end=self._n(event["last_day"]))
        rows: list[tuple[str, Text]] = [
            ("local_days", days),
            ("cause", (event["cause"],)),
            ("treatment", (self.words[f"event_{event['treatment']}"],)),
        ]
        if event["value_kwh"] is not None:
            worth = self._say(
                "event_worth",
                sign="−" if event["sign"] == "-" else "+",  # noqa: RUF001 -- a minus sign is meant
                value=self._n(event["value_kwh"]),
                u=self._n(event["u_kwh"]),
                mass=self._n(event["value_t"]),
            )
            rows.append(("added", worth))
        rows += [
            ("who_says_so", (event["author"],)),
            ("who_approved", (event["approval"],)),
            ("proof", as_digest(event["evidence_sha256"])),
        ]
        return tuple((self.words[key], text) for key, text in rows)

    def _points(self, equation: Report) -> tuple[Block, ...]:
        points = equation["change_points"]
        if not any(point["lowest_c"] for point in points):
            return ()
        rows = tuple(
            (
                (self.term(f"{point['part']} {point['kind']}".strip()),),
                self._n(point["value_c"]),
                self._n(point["lowest_c"]),
                self._n(point["highest_c"]),
            )
            for point in points
        )
        return (Table(self._heads("change_point", "value_c", "lowest_c", "highest_c"), rows),)

    def _worked(self, engine: Report) -> tuple[Section, ...]:
        worked = engine["worked"]
        if worked is None:
            return ()
        made: list[Text] = [
            self._say(
                "driver_amount",
                name=driver["name"],
                figure=self._n(driver["value"]),
                unit=driver["unit"],
            )
            for driver in worked["drivers"]
        ]
        drivers: Text = ()
        for text in made:
            drivers = (*drivers, ", ", *text) if drivers else text
        rows: list[tuple[Text, ...]] = [
            (
                (self.term(term["name"]),),
                self._with_unit(term["value"], term["unit"]),
                self._with_unit(term["amount"], self._unit_word(term["amount_unit"])),
                self._n(term["energy_kwh"]),
            )
            for term in worked["terms"]
        ]
        rows += [
            (self._say(key), (), (), self._n(worked[name]))
            for key, name in (("prediction", "predicted_kwh"), ("measured_row", "measured_kwh"))
        ]
        rows.append((self._strong("avoided_row"), (), (), self._n(worked["avoided_kwh"])))
        unit = self.words.name("unit", self.report["project"]["unit"])
        note = self._say("worked_note", label=self._n(worked["unit"]), unit=unit)
        blocks: list[Block] = [Paragraph(note)]
        if drivers:
            blocks.append(Paragraph(drivers))
        head = self._heads("term", "coefficient", "amount", "energy_kwh")
        blocks.append(Table(head, tuple(rows)))
        return (Section(plain(self._say("worked", unit=unit)), tuple(blocks)),)

    def _strong(self, key: str) -> Text:
        return (Mark("strong", self._say(key)),)

    def _with_unit(self, figure: str, unit: str) -> Text:
        return self._say("with_unit", figure=self._n(figure), unit=unit)

    def _unit_word(self, unit: str) -> str:
        return self.words.name("unit", unit)

    def _looked(self, engine: Report) -> tuple[Section, ...]:
        why = Paragraph((self._of(engine["chosen_by"]),))
        alternatives = engine["alternatives"]
        if not alternatives:
            return (Section(self.words["looked"], (why,)),)
        model = self.report["model"]
        chosen: tuple[Text, ...] = (
            (Mark("strong", (engine["method"],)), " ", Mark("small", self._say("chosen"))),
            self._n(model["p"]),
            self._n(model["cv_rmse_percent"]),
            self._n(model["adjusted_r2"]),
            (),
        )
        rows = [chosen, *(self._row(one) for one in alternatives[:_MOST_LOOKED])]
        head = self._heads("model", "parameters", "cv_rmse", "adjusted_r2", "bic_difference")
        blocks: list[Block] = [why, Table(head, tuple(rows))]
        if len(alternatives) > _MOST_LOOKED:
            n, in_all = self._n(str(_MOST_LOOKED)), self._n(str(len(alternatives)))
            blocks.append(Paragraph(self._say("first_rows", n=n, in_all=in_all)))
        blocks.append(Paragraph(self._say("looked_note")))
        return (Section(self.words["looked"], tuple(blocks)),)

    def _row(self, one: Report) -> tuple[Text, ...]:
        names = ("parameters", "cv_rmse_percent", "adjusted_r2", "bic_difference")
        return ((one["id"],), *(self._n(one[name]) for name in names))
