"""The form of every answer. Times are UTC in microseconds since 1970, units stand in the names."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from joulemark_gateway.following.so_far import State, Trouble


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Carbon(_Answer):
    """CO2e in kg, exact to the milligram; or the reason why there is none."""

    co2e_kg: str | None
    factors: list[str] = Field(description="ids of the emission factors used")
    why: str = Field(
        description="'' or no_factor, no_factor_document, generated, no_energy, several_parts"
    )


class DayEnergy(_Answer):
    """One local day; covered + estimated + missing is what of it has passed."""

    day: date
    start_us: int
    end_us: int
    energy_wh: float | None = Field(description="null: nothing is known of this day; never 0")
    covered_us: int
    estimated_us: int
    missing_us: int
    carbon: Carbon
    records: str = Field(description="where the records behind the figure are")


class DeviceDays(_Answer):
    """The energy of one device by local day."""

    device: str
    basis: Literal["counter", "held", "none"]
    point: str
    generated: bool = Field(description="true: energy made, not used")
    days: list[DayEnergy]
    total_wh: float | None
    carbon: Carbon


class Days(_Answer):
    """Energy by local day, each device on its own."""

    site: str
    time_zone: str
    first_day: date
    last_day: date
    devices: list[DeviceDays]


class LatestValue(_Answer):
    """The newest sample of a point."""

    device: str
    point: str
    unit: str
    t_utc_us: int
    value: float | None
    quality: str


class Shares(_Answer):
    """The values that were due, by what became of them; the parts add up to `due`."""

    due: int
    good: int
    uncertain: int
    bad: int
    missing: int


class Device(_Answer):
    """A device in its latest epoch."""

    id: str
    kind: str
    model: str
    protocol: str
    confidence: str
    synthetic: bool
    simulated: bool
    epoch: int
    agent: str
    period_us: int
    leaves: int
    received_us: int = Field(description="when the collector accepted its last batch; wall time")
    state: Literal["current", "late", "ended", "silent", "unknown"]
    seen_us: int | None
    power_w: float | None
    power_point: str
    generates: bool
    first_us: int | None
    last_us: int | None


class Broken(_Answer):
    """A device whose documents cannot be read."""

    id: str
    why: str


class SiteNow(_Answer):
    """A site as it is now, by its own clock."""

    id: str
    time_zone: str
    simulated: bool
    now_us: int | None = Field(description="the site's clock; a replay's stands in the past")
    devices: list[Device]
    broken: list[Broken]
    power_w: float | None = Field(description="of the devices in power_of; null: none is current")
    power_of: list[str]
    not_current: list[str]
    generation_w: float | None
    day: date | None = Field(description="today, or the last day of a replay")
    energy_wh: float | None
    covered_us: int
    passed_us: int
    energy_of: list[str]
    carbon: Carbon


Cursor = Annotated[
    str | None, Field(description="give it back as 'cursor' for what follows; null: that was all")
]


class Sites(_Answer):
    """Every site, by id."""

    collector: str
    sites: list[SiteNow]
    next_cursor: Cursor = None


class Devices(_Answer):
    """The devices of a site."""

    site: str
    devices: list[Device]
    broken: list[Broken]
    next_cursor: Cursor = None


class Point(_Answer):
    """One point of a device, or a series of what its agent states of it."""

    name: str
    unit: str
    counter: bool
    latest: LatestValue | None
    source: Literal["device", "figure", "uncertainty"] = Field(
        default="device",
        description="device: read from it; figure: computed by its agent for a window, at the "
        "window's end; uncertainty: the standard uncertainty of such a figure",
    )


class Points(_Answer):
    """The points of a device."""

    site: str
    device: str
    points: list[Point]


class LatestValues(_Answer):
    """The newest sample of every point of a site."""

    site: str
    values: list[LatestValue]


class SampleRow(_Answer):
    """One sample; no value is null, never 0."""

    t_utc_us: int
    value: float | None
    quality: str


class Samples(_Answer):
    """Samples of one point in the order of time."""

    site: str
    device: str
    point: str
    unit: str
    start_us: int
    end_us: int
    samples: list[SampleRow]
    next_us: int | None = Field(description="ask again from here; null: that was all")


class SeriesColumn(_Answer):
    """A column of a table of the series."""

    name: str
    unit: str = Field(description="SI; empty where it has none")


class SeriesPage(_Answer):
    """Rows of the series of one device, oldest first."""

    site: str
    device: str
    time_zone: str = Field(description="of the windows' begins")
    resolution: Literal["raw", "15min", "hour", "day"]
    start_us: int
    end_us: int
    columns: list[SeriesColumn]
    rows: list[list[str | float | None]] = Field(description="a cell a column; null: missing")
    next_cursor: str | None = Field(description="give it back as 'cursor'; null: that was all")


class AmountRow(_Answer):
    """What a counter counted in one step."""

    start_us: int
    end_us: int
    amount: float
    covered_us: int
    estimated_us: int
    missing_us: int


class Amounts(_Answer):
    """Steps of a counter in the order of time."""

    site: str
    device: str
    point: str
    unit: str
    start_us: int
    end_us: int
    amounts: list[AmountRow]
    next_us: int | None


Freedom = Annotated[
    float | Literal["inf"] | None,
    Field(description="of the standard uncertainty; null: unknown; inf: not from observations"),
]


class Figure(_Answer):
    """One figure of an equipment model, or the reason why there is none."""

    name: str
    unit: str = Field(description="SI; empty where the name tells none")
    value: float | None
    covered_ratio: float | None = Field(description="share of its time that samples back")
    why: str = Field(description="the reason there is no value")
    standard_uncertainty: float | None = Field(description="in the unit; null: unknown, never 0")
    degrees_of_freedom: Freedom
    flags: list[str] = Field(
        description="stable codes of what limits the value: estimated, extrapolated, lower_bound, "
        "unresolved, declared and others"
    )


class Span(_Answer):
    """Time in which the machine did one thing."""

    kind: str
    start_us: int
    end_us: int
    figures: list[Figure]


class Finding(_Answer):
    """What somebody should know or do."""

    code: str
    what: str
    do: str
    start_us: int
    end_us: int


class Analysis(_Answer):
    """What the equipment model of a device says of a span."""

    site: str
    device: str
    kind: str
    start_us: int
    end_us: int
    has_model: bool
    figures: list[Figure]
    spans: list[Span]
    spans_in_all: int
    findings: list[Finding]


class System(_Answer):
    """Several devices of a site whose figures belong together."""

    site: str
    id: str
    kind: str
    members: dict[str, list[str]] = Field(description="ids of devices by role")


class Systems(_Answer):
    """The systems of a site."""

    systems: list[System]


class SystemAnalysis(_Answer):
    """What is said of several devices together over a span."""

    system: System
    start_us: int
    end_us: int
    figures: list[Figure]
    spans: list[Span]
    spans_in_all: int
    findings: list[Finding]


class StatedFigure(_Answer):
    """One figure as the agent stated it, with numbers of twelve digits."""

    name: str
    unit: str
    value: float
    covered_ratio: float | None
    standard_uncertainty: float | None = Field(description="in the unit; null: unknown, never 0")
    degrees_of_freedom: Freedom
    flags: list[str]


class StatedWindow(_Answer):
    """What the agent stated of one window of time, in the device's tree."""

    start_us: int
    end_us: int
    figures: list[StatedFigure]
    absent: list[str] = Field(description="figures that could not be given; never 0")
    findings: list[str]
    epoch: int
    seq: int = Field(description="the leaf that states it, in the tree of the epoch")
    first_seq: int = Field(description="the first record it was computed from")
    last_seq: int = Field(description="the last one")


class StatedWindows(_Answer):
    """The windows that begin in a span, in the order of time."""

    site: str
    device: str
    every_us: int | None = Field(description="length of a window; null: none are asked for")
    start_us: int
    end_us: int
    windows: list[StatedWindow]
    next_us: int | None = Field(description="ask again from here; null: that was all")


class Counter(_Answer):
    """How a counter counts, as its profile says; amounts in the unit, as text."""

    point: str
    unit: str
    daily: bool = Field(description="it starts at 0 every day")
    wraps_at: str | None = Field(description="the count that shows as 0")
    step: str = Field(description="the least it can show beside its newest count")
    most_per_hour: str | None = Field(description="null: not known, so no leap is refused")


class CounterEvent(_Answer):
    """What a counter did besides counting, and what was booked for it."""

    point: str
    code: str
    start_us: int = Field(description="the reading before it that was believed")
    at_us: int = Field(description="the reading that shows it")
    before: str
    after: str
    booked: str
    epoch: int
    seq: int = Field(description="the leaf of the reading that shows it, in the tree of the epoch")


class Counters(_Answer):
    """The counters of a device and their events in a span, from its records."""

    device: str
    counters: list[Counter]
    events: list[CounterEvent]
    events_in_all: int
    by_code: dict[str, int]
    is_whole: bool = Field(description="false: only the last records of the span were followed")


class ClockEvent(_Answer):
    """A time that a device stated and that is not later than one before it, or a clock set."""

    point: str = Field(description="sampled_at_s, the OPC UA variable, or agent: its own clock")
    code: str = Field(
        description="clock_step: it went back; repeated_stamp: it was shown before; "
        "agent_clock_set: the agent's clock was set"
    )
    at_us: int = Field(description="the slot of the reading that shows it, by the agent's clock")
    before_us: int = Field(
        description="the device's time that it is compared with; what the agent's clock would show"
    )
    after_us: int = Field(description="the device's time, or what the agent's clock shows")
    epoch: int
    seq: int = Field(description="the leaf of that reading, in the tree of the epoch")


class Clocks(_Answer):
    """What a device's own times and the agent's clock did besides going on, from its records."""

    device: str
    states_time: bool = Field(description="false: it tells no times of its own")
    events: list[ClockEvent] = Field(description="those of one code together, in order of time")
    events_in_all: int
    by_code: dict[str, int]
    is_whole: bool = Field(description="false: only the last records of the span were looked at")


class Implausible(_Answer):
    """A check that fails: what a device says cannot be true."""

    rule: str
    points: list[str]
    found: str
    do: str


class Checks(_Answer):
    """What the last readings of a device, up to six hours, say that cannot be true."""

    device: str
    readings: int = Field(description="how many were looked at; 0: too few, nothing is checked")
    newest_us: int | None = Field(description="the last reading; null: there is none")
    findings: list[Implausible]


class Gap(_Answer):
    """A signed statement that slots have no reading."""

    seq: int
    first_slot_us: int
    last_slot_us: int
    slots: int
    cause: str


class Quality(_Answer):
    """How good the values of a device are in a span, and its gaps."""

    device: str
    shares: Shares
    gaps: list[Gap]
    gaps_in_all: int
    gap_slots: int
    is_whole: bool = Field(description="false: there are too many leaves to look through them all")


class SlotAccount(_Answer):
    """What became of a device's slots: expected = received + missing + what follows - twice."""

    start_us: int
    end_us: int
    expected: int
    received: int
    at_gateway: int = Field(description="of those received; their values are not here")
    missing: dict[str, int] = Field(description="by the cause that the agent signed")
    unaccounted: int = Field(description="neither read nor said to be missing: a fault")
    outstanding: int = Field(description="after the last that has arrived")
    twice: int
    points: dict[str, dict[str, int]] = Field(description="by point: how often which quality")
    reconciles: bool = Field(description="the grid of slots and the leaves give the same sums")


class Slots(_Answer):
    """The account of a device's slots, window by window, from its evidence."""

    device: str
    windows: list[SlotAccount]
    total: SlotAccount


class Raw(_Answer):
    """One checked reply of the device."""

    table: str
    address: int
    words: str = Field(description="as received, hexadecimal")


class Leaf(_Answer):
    """One leaf of the device's tree."""

    seq: int
    kind: str
    slot_us: int | None
    t_utc_us: int | None
    raw: list[Raw]
    values: dict[str, str]
    quality: dict[str, str]
    note: str = Field(description="what a leaf that is no record says, in JSON")
    leaf_sha256: str
    proof: str


class Checkpoint(_Answer):
    """The signed head over leaves up to `size`."""

    size: int
    root: str
    note: str
    is_agent_signed: bool
    witness: str
    cosigned_s: int | None


class Sum(_Answer):
    """The energy of the span, computed anew from the raw words of its records."""

    point: str
    basis: str
    energy_wh: float | None
    covered_us: int
    estimated_us: int
    missing_us: int
    first_seq: int
    last_seq: int


class Records(_Answer):
    """The leaves behind a figure."""

    site: str
    device: str
    epoch: int
    epochs: list[int] = Field(description="those that have leaves of the span")
    origin: str
    start_us: int
    end_us: int
    first_seq: int
    leaves_in_all: int
    leaves: list[Leaf]
    next_seq: int | None
    checkpoints: list[Checkpoint]
    sum: Sum | None = Field(
        description="null: no energy, too many records for one request, or several epochs"
    )
    sum_refused: str


class Proof(BaseModel):
    """What a stranger needs to check one leaf."""

    format: str
    origin: str
    leaf_index: int
    tree_size: int
    leaf: str
    leaf_sha256: str
    path_sha256: list[str]
    root_base64: str
    checkpoint: str
    agent_key: str
    witness: dict[str, str]
    how: str


class ProjectRow(_Answer):
    """A project in the list."""

    id: str
    title: str
    site: str
    result: Literal["measured", "disqualified"]
    issued: str
    avoided_kwh: str | None
    half_width_kwh: str | None
    confidence_percent: str | None
    avoided_t: str | None
    refused_because: list[str]
    files: dict[str, int]


class RunningRow(_Answer):
    """A running project in the list: what it has saved so far."""

    id: str
    title: str
    site: str
    state: State
    stands_to: date | None = Field(description="the last day that is in the saving")
    is_final: bool
    avoided_kwh: str | None
    half_width_kwh: str | None
    confidence_percent: str | None
    avoided_t: str | None
    half_width_t: str | None
    policy_id: str = Field(description="with its version where a saving stands under it")
    baseline_days: int
    baseline_days_in_all: int
    refused_because: list[str]
    trouble: Trouble | None


class Projects(_Answer):
    """Every project: those with a report, and those that run."""

    projects: list[ProjectRow]
    running: list[RunningRow]
    unreadable: list[str]
    next_cursor: Cursor = None


class Health(_Answer):
    """Whether the collector can answer."""

    status: Literal["ok", "degraded"]
    collector: str | None = None
    version: str | None = None
    evidence: str | None = None
    series: str | None = None
    trees: int | None = None


class ProjectFile(_Answer):
    """A file of a report."""

    name: str
    media_type: str
    bytes: int
    sha256: str = Field(description="of its bytes, in hex; also its ETag")
    role: Literal["viewer", "verifier"] = Field(description="the least that may have it")
    url: str


class ProjectFiles(_Answer):
    """The files of a report that whoever asks may have."""

    project: str
    files: list[ProjectFile]


class Alive(_Answer):
    """The collector answers."""

    status: Literal["ok"]


class Cause(_Answer):
    """Why a part of the collector cannot be used."""

    part: str = Field(description="evidence or series")
    code: str
    what: str
    do: str


class Ready(_Answer):
    """Whether evidence and series can be read."""

    status: Literal["ok", "degraded"]
    causes: list[Cause] | None = Field(description="null: for who verifies all sites")


class ProblemAnswer(_Answer):
    """RFC 9457 problem details, and what to do next."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    do: str


Responses = dict[int | str, dict[str, Any]]
PROBLEMS: Responses = {
    status: {"model": ProblemAnswer, "content": {"application/problem+json": {}}}
    for status in (404, 409, 422, 503)
}
