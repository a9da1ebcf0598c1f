"""Projects: the folders that `joulemark report --out` wrote. Hostile until checked.

Read is `report.json` alone; handed out are the files of a report by their names and nothing else of
the folder.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.topics import is_id
from joulemark_gateway.evidence.bundle import PAGE, PAGE_KO, PDF, PDF_KO, REPORT
from joulemark_gateway.reports.reduction import ENGINE_FORMAT, FIRST_FORMAT, FORMAT

BUNDLE, POLICY = "bundle.zip", "policy.json"
FILES: Mapping[str, str] = {  # what is handed out, with its type
    PAGE: "text/html; charset=utf-8",
    PAGE_KO: "text/html; charset=utf-8",
    PDF: "application/pdf",
    PDF_KO: "application/pdf",
    REPORT: "application/json",
    BUNDLE: "application/zip",
    POLICY: "application/json",
}
EVIDENCE = {BUNDLE, POLICY}  # of them, what a verifier is given
MAX_REPORT_BYTES = 16 * 1024 * 1024
MAX_UNITS = 100_000  # rows of the series

Decimal_ = Annotated[str, Field(pattern=r"^-?[0-9]{1,24}(\.[0-9]{1,12})?$")]
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]$")]
Text = Annotated[str, Field(max_length=4000)]
Name = Annotated[str, Field(max_length=200)]
Column = Annotated[tuple[Decimal_ | None, ...], BeforeValidator(tuple), Field(max_length=MAX_UNITS)]


class _Part(BaseModel):
    """A part of a report of which only some fields are shown."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Banner(_Part):
    """What stands across the top."""

    code: Name
    text: Text


class Measure(_Part):
    """The energy conservation measure."""

    name: Text
    description: Text
    implemented: Day


class Meter(_Part):
    """The device and point whose energy the report is of."""

    device: Name
    point: Name


class Evidence(_Part):
    """A tree that the report was computed from, and the head under which it was used."""

    origin: Name
    device: Name
    agent: Name
    agent_key: Text
    size: Decimal_
    root: Name
    records: Decimal_
    gap_slots: Decimal_


class About(_Part):
    """What the project is."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
    title: Text
    site: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
    time_zone: Name
    unit: Literal["day", "hour"]
    measure: Measure
    energy: Meter


class Headline(_Part):
    """The saving and its band."""

    avoided_kwh: Decimal_
    half_width_kwh: Decimal_
    avoided_percent: Decimal_
    avoided_t: Decimal_
    half_width_t: Decimal_
    confidence_percent: Decimal_
    creditable_t: Decimal_
    distinguishable_from_zero: bool


class Period(_Part):
    """Baseline or reporting period."""

    first: Day = Field(alias="from")
    last_day: Day
    units: Decimal_
    kept: Decimal_
    energy_kwh: Decimal_
    covered_percent: Decimal_ | None
    missing_percent: Decimal_ | None


class Periods(_Part):
    """Both."""

    baseline: Period
    reporting: Period


class Policy(_Part):
    """The rules the saving was judged by."""

    id: Name
    version: Name
    text: Text
    source: Text


class Rule(_Part):
    """One rule and what was seen."""

    code: Name
    subject: Text
    rule: Text
    seen: Name | None
    at_least: Name | None
    at_most: Name | None
    unit: Name
    passed: bool


class Claim(_Part):
    """A model that proves nothing."""

    model: Name
    code: Name
    why: Text
    would_have_claimed_kwh: Decimal_
    would_have_claimed_percent: Decimal_


class Series(_Part):
    """The units as columns: what the charts are drawn from."""

    label: Annotated[tuple[Name, ...], BeforeValidator(tuple), Field(max_length=MAX_UNITS)]
    period: Annotated[tuple[Literal["baseline", "reporting"], ...], BeforeValidator(tuple)]
    kept: Annotated[tuple[bool, ...], BeforeValidator(tuple)]
    energy_kwh: Annotated[tuple[Decimal_, ...], BeforeValidator(tuple)]
    counterfactual_kwh: Column
    cumulative_kwh: Column
    cumulative_half_width_kwh: Column

    @model_validator(mode="after")
    def _is_one_table(self) -> Series:
        lengths = {len(column) for column in self.__dict__.values()}
        if len(lengths) != 1:
            raise ValueError("the columns of the series have different lengths")
        for label in self.label:
            if len(label) < 10 or not (label[:4] + label[5:7] + label[8:10]).isdecimal():
                raise ValueError(f"{label[:20]!r} is no label of a day or hour")
            if not 1 <= int(label[5:7]) <= 12:
                raise ValueError(f"{label[:20]!r} names no month")
        return self


class Report(_Part):
    """What is shown of a report.json."""

    format: Literal["joulemark-report/1", "joulemark-report/2", "joulemark-report/3"]
    result: Literal["measured", "disqualified"]
    issued: Name
    clock: Name
    banners: Annotated[tuple[Banner, ...], BeforeValidator(tuple), Field(max_length=50)]
    project: About
    headline: Headline | None
    refused_because: Annotated[tuple[Name, ...], BeforeValidator(tuple), Field(max_length=100)]
    periods: Periods
    policy: Policy
    findings: Annotated[tuple[Rule, ...], BeforeValidator(tuple), Field(max_length=500)]
    refused_claims: Annotated[tuple[Claim, ...], BeforeValidator(tuple), Field(max_length=100)]
    series: Series
    evidence: Annotated[tuple[Evidence, ...], BeforeValidator(tuple), Field(max_length=1000)]


@dataclass(frozen=True)
class Project:
    """A project with its report and the files that are there."""

    report: Report
    folder: Path
    files: Mapping[str, int]  # name and size in bytes


@dataclass(frozen=True)
class Unreadable:
    """A folder named in the settings whose report cannot be shown, and why."""

    folder: Path
    what: str
    do: str


def projects_of(folders: Sequence[Path]) -> tuple[dict[str, Project], list[Unreadable]]:
    """The projects of these folders by id, and the folders that hold none."""
    found: dict[str, Project] = {}
    unreadable: list[Unreadable] = []
    for folder in folders:
        try:
            report = report_in(folder)
        except (EvidenceError, StoreError) as error:
            unreadable.append(Unreadable(folder, error.what, error.do))
            continue
        name = report.project.id
        if not is_id(name) or name in found:
            what = f"The project {name!r} stands in two folders."
            unreadable.append(Unreadable(folder, what, "Name one folder a project."))
            continue
        found[name] = Project(report, folder, _files_in(folder))
    return found, unreadable


def report_in(folder: Path) -> Report:
    """The report in a folder, checked field by field.

    Raises:
        StoreError: it cannot be read.
        EvidenceError: `bad_report` where it is none.
    """
    path = folder / REPORT
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise _bad(path, "it is no plain file")
        if status.st_size > MAX_REPORT_BYTES:
            raise _bad(path, f"it has {status.st_size} bytes; {MAX_REPORT_BYTES} are the most")
        return _parsed(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise StoreError(
            f"The report {path} cannot be read: {error.strerror}.",
            "Run 'joulemark report PROJECT.yaml --out' with this folder, or correct 'projects'.",
            code="no_report",
        ) from error


@lru_cache(maxsize=64)
def _parsed(path: Path, changed_ns: int, size: int) -> Report:
    """The report in a file as it was at that time."""
    del changed_ns
    with path.open("rb") as file:
        data = file.read(size)
    try:
        content: Any = parse_canonical(data)
        return Report.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _bad(path, f"{where}: {first['msg']}") from error
    except EvidenceError as error:
        raise _bad(path, error.what) from error


def _files_in(folder: Path) -> dict[str, int]:
    found = {}
    for name in FILES:
        try:
            status = (folder / name).lstat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            found[name] = status.st_size
    return found


def _bad(path: Path, why: str) -> EvidenceError:
    return EvidenceError(
        f"{path} is not a report that can be shown: {why[:300]}.",
        "Make it again with 'joulemark report'.",
        code="bad_report",
    )


assert {FIRST_FORMAT, FORMAT, ENGINE_FORMAT} == {  # `Report` reads all of them
    f"joulemark-report/{version}" for version in (1, 2, 3)
}
