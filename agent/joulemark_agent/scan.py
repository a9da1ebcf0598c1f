"""What answers on a Modbus line: units, what they say of themselves, SunSpec models, profiles.

Gentle: one connection, one question at a time with a pause after it, short time-outs, reading only.
A unit is asked for a register, and if it answers for its identification (43/14), its SunSpec map,
the registers by which shipped profiles know their model, and, where none does, for what the
profiles without such registers would read: the first refusal rules a profile out, and what is left
must also be plausible. Nothing a device answers is kept beyond the checks of the drivers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Protocol, TypeVar, cast

import joulemark_profiles
from joulemark_agent import identification, sunspec_models
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import SUNSPEC, Identify, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers import elektronikon, modbus, modbus_ascii, modbus_rtu
from joulemark_agent.drivers.base import MAX_WORDS, Driver, Request
from joulemark_agent.drivers.sunspec import NOT_SUNSPEC, Sunspec
from joulemark_agent.exchange import BAD_REPLY, CLOSED, TIMEOUT
from joulemark_agent.identification import Identifying
from joulemark_agent.kernels.checks import Verdict, sample_of, verdicts
from joulemark_agent.kernels.decode import decode_responses, found_in, identifies
from joulemark_agent.plan import plan_requests

WIRES = {"modbus-tcp": modbus, "sunspec-tcp": modbus, "modbus-rtu": modbus_rtu,
         "modbus-rtu-tcp": modbus_rtu, "sunspec-rtu": modbus_rtu, "sunspec-rtu-tcp": modbus_rtu,
         "modbus-ascii": modbus_ascii, "modbus-ascii-tcp": modbus_ascii}  # fmt: skip
PAUSE_S = 0.02  # after every question
LEAST_CONNECT_S = 1.0
RECONNECT_S = 1.0  # a device with one connection may need so long to forget the last
PATIENT = 2  # times the time-out, once a unit is known to be there
PROBES = (Request("holding", 0, 1), Request("input", 0, 1))
MOST_SILENT = 3  # questions in a row that a unit may leave unanswered before it is left alone
MOST_WRONG = 3  # units that answer what is no answer, before it is said that nothing here is Modbus
NO_UNIT_BEHIND = ("exception_10", "exception_11")  # what a gateway says
_REFUSED = "exception_"
_COMMON = {"maker": "Mn", "model": "Md", "version": "Vr", "serial": "SN"}
_TELLING = {  # checks that would hardly hold by chance: what each is worth, and how it is said
    "sum_of_phases": (2, "the phases add up"),
    "product": (2, "power fits voltage and current"),
    "efficiency": (2, "AC power fits DC power"),
    "range": (1, "frequency or voltage is that of a grid"),
}
_LEAST_EVIDENCE = 3

How = Literal["identified", "models", "named", "plausible"]
CERTAINTY: Mapping[How, str] = {
    "identified": "certain",
    "models": "certain",
    "named": "likely",
    "plausible": "possible",
}


T = TypeVar("T")


class Client(Driver, Identifying, Protocol):
    """A Modbus client: over TCP or a line."""


@dataclass(frozen=True)
class Shown:
    """One value as it was read."""

    name: str
    value: str
    unit: str


@dataclass(frozen=True)
class Match:
    """A shipped profile that may be the unit's."""

    profile: str
    how: How
    why: str
    good: int = 0  # points with a good value
    points: int = 0
    shown: tuple[Shown, ...] = ()
    evidence: int = 0
    failed: tuple[str, ...] = ()  # checks that do not hold

    @property
    def certainty(self) -> str:
        """In one word; a register that tells the model is not believed against its values."""
        return "doubtful" if self.failed and self.how == "identified" else CERTAINTY[self.how]


@dataclass
class Found:
    """One unit that answers."""

    unit: int
    identification: dict[str, str] = field(default_factory=dict)
    models: dict[int, int] = field(default_factory=dict)  # SunSpec: words by model, in order
    common: dict[str, str] = field(default_factory=dict)  # of the SunSpec model 1
    matches: list[Match] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    like: int | None = None  # the unit that gave the same answers, which was looked at
    responses: tuple[Response, ...] = ()  # of the SunSpec models whose points have names

    @property
    def best(self) -> Match | None:
        """What to try first; None where there is none, or several with nothing between them."""
        if not self.matches:
            return None
        first, *others = self.matches
        is_tied = any((m.how, m.evidence) == (first.how, first.evidence) for m in others)
        return None if is_tied else first

    @property
    def says(self) -> str:
        """What it calls itself, in one line."""
        said = self.common or self.identification
        kept = [
            said[key]
            for key in ("maker", "vendor", "model", "product", "product code")
            if said.get(key)
        ]
        return " ".join(dict.fromkeys(kept))


@dataclass
class Scan:
    """What has been found so far."""

    url: str
    units: tuple[int, ...]
    found: list[Found] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    wrong: dict[int, str] = field(default_factory=dict)  # units whose answers are none, and why
    questions: int = 0
    is_gateway: bool = False  # it says itself when there is no such unit
    stopped: str = ""  # why not all units were asked


async def scan(
    result: Scan,
    *,
    timeout_s: float,
    progress: Callable[[str], None],
    pause_s: float = PAUSE_S,
) -> None:
    """Ask the units of `result` in turn, and note there what they are.

    Raises:
        DeviceError: there is no connection to be had at all.
    """
    line = _Line(result, timeout_s, pause_s)
    try:
        await line.open()
        for number, unit in enumerate(result.units, 1):
            progress(f"unit {unit} ({number} of {len(result.units)}), {len(result.found)} found")
            found = await _answering(line, unit, result)
            if found is not None:
                result.found.append(found)
                await _look(line, found, result.found, progress)
            result.asked.append(unit)
            if not result.found and len(result.wrong) == MOST_WRONG:
                result.stopped = "what answers does not speak Modbus, or not in this framing."
                break
    except _LostError as error:
        result.stopped = str(error)
    finally:
        await line.close()


async def scan_controller(url: str, *, timeout_s: float) -> Match:
    """What an Elektronikon has of the profile shipped for it; it says the units itself.

    Raises:
        DeviceError: no connection, or something else answers.
    """
    [profile] = _shipped("elektronikon")
    driver = await elektronikon.connect(url, timeout_s=timeout_s)
    try:
        there = await elektronikon.discover(driver, timeout_s=timeout_s)
        responses = await driver.read(0, plan_requests(profile), timeout_s=timeout_s)
    finally:
        await driver.close()
    why = f"it answers as its own pages are answered, with {len(there)} values and counters"
    return _judged(profile, "identified", why, responses)


@dataclass(frozen=True)
class _Absent:
    """Why there is no answer: the code and the words of the error."""

    code: str
    what: str


_Answers = dict[Request, bytes | _Absent]


class _LostError(Exception):
    """The connection is gone and there is no other: the scan ends."""


class _Line:
    """One connection; what it is asked is counted, and it is opened again after any doubt."""

    is_open = True

    def __init__(self, result: Scan, timeout_s: float, pause_s: float) -> None:
        self.peer, self.timeout_s = result.url, timeout_s
        self._result, self._pause_s = result, pause_s
        scheme, _, rest = result.url.partition("://")
        self._wire, self.is_ascii = WIRES[scheme], WIRES[scheme] is modbus_ascii
        self._url = f"{scheme.replace('sunspec', 'modbus')}://{rest}"
        self._client: Client | None = None

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            DeviceError: there is no connection to be had.
        """
        wait_s = max(PATIENT * self.timeout_s, LEAST_CONNECT_S)
        self._client = cast(Client, await self._wire.connect(self._url, timeout_s=wait_s))

    async def read(
        self, unit: int, requests: Sequence[Request], *, timeout_s: float | None = None
    ) -> tuple[Response, ...]:
        """As any Modbus client."""
        return await self._ask(
            lambda client: client.read(unit, requests, timeout_s=timeout_s), len(requests)
        )

    async def identification(
        self, unit: int, level: int, first: int, *, timeout_s: float | None = None
    ) -> bytes:
        """As any Modbus client."""
        return await self._ask(
            lambda client: client.identification(unit, level, first, timeout_s=timeout_s), 1
        )

    async def close(self) -> None:
        """Give the connection back."""
        if self._client is not None:
            await self._client.close()

    async def _ask(self, question: Callable[[Client], Awaitable[T]], count: int) -> T:
        if self._client is None or not self._client.is_open:
            await self._reopen()
        assert self._client is not None
        self._result.questions += count
        try:
            return await question(self._client)
        finally:
            await asyncio.sleep(self._pause_s)

    async def _reopen(self) -> None:
        """Once more at once, then after what a device may need to forget the last connection."""
        await self.close()
        try:
            try:
                await self.open()
            except DeviceError:
                await asyncio.sleep(RECONNECT_S)
                await self.open()
        except DeviceError as error:
            raise _LostError(str(error)) from error


async def _or_absent(answer: Awaitable[T]) -> T | _Absent:
    try:
        return await answer
    except DeviceError as error:
        return _Absent(error.code, error.what)


async def _words(line: _Line, unit: int, request: Request, patience: int) -> bytes:
    [response] = await line.read(unit, (request,), timeout_s=patience * line.timeout_s)
    return response.data


async def _answering(line: _Line, unit: int, result: Scan) -> Found | None:
    """The unit if anything answers for it, a refusal too."""
    wrong = ""
    for request in PROBES:
        answer = await _or_absent(_words(line, unit, request, 1))
        if not isinstance(answer, _Absent):
            return Found(unit)
        if answer.code in NO_UNIT_BEHIND:
            result.is_gateway = True
            return None
        if answer.code.startswith(_REFUSED):
            return Found(unit)
        if answer.code == BAD_REPLY:
            wrong = answer.what
    if wrong:
        result.wrong[unit] = wrong
    return None


async def _look(
    line: _Line, found: Found, others: Sequence[Found], progress: Callable[[str], None]
) -> None:
    """What the unit is, as far as it can be told."""
    progress(f"unit {found.unit}: what does it say of itself?")
    patient_s = PATIENT * line.timeout_s
    said = await _or_absent(identification.identify(line, found.unit, timeout_s=patient_s))
    if not isinstance(said, _Absent):
        names = {
            identification.NAMES.get(i, f"object {i}"): identification.text(v)
            for i, v in said.items()
        }
        found.identification = {name: text for name, text in names.items() if text}
    elif said.code == BAD_REPLY:
        found.notes.append(said.what)
    if not line.is_ascii:  # no driver speaks SunSpec so
        progress(f"unit {found.unit}: has it a SunSpec map?")
        await _look_for_models(Sunspec(line), found, patient_s)
    twin = next((other for other in others if _are_alike(found, other)), None)
    if twin is not None:
        found.like, found.matches = twin.unit, twin.matches
        return
    await _match(line, found, progress)


def _are_alike(one: Found, other: Found) -> bool:
    """Whether two units say the same of themselves: another profile would be of no use."""
    is_telling = bool(one.identification or one.common)
    return (
        is_telling
        and other is not one
        and other.like is None
        and one.identification == other.identification
        and one.models == other.models
        and {**one.common, "serial": ""} == {**other.common, "serial": ""}
    )


async def _look_for_models(sunspec: Sunspec, found: Found, timeout_s: float) -> None:
    models = await _or_absent(sunspec.models(found.unit, timeout_s=timeout_s))
    if not isinstance(models, _Absent):
        found.models = {model: place.words - 2 for model, place in models.items()}
        await _read_models(sunspec, found, timeout_s)
    elif models.code not in {NOT_SUNSPEC, TIMEOUT, CLOSED}:
        found.notes.append(models.what)


async def _read_models(sunspec: Sunspec, found: Found, timeout_s: float) -> None:
    """Model 1 in words, and all others whose points have names."""
    read: list[Response] = []
    for model, length in found.models.items():
        group = sunspec_models.models().get(model)
        if group is None:
            continue
        if not group.fits(length):
            found.notes.append(
                f"SunSpec model {model} says it has {length} words; the standard has another number"
            )
            continue
        request = Request(SUNSPEC, model, min(length + 2, MAX_WORDS))
        answer = await _or_absent(sunspec.read(found.unit, (request,), timeout_s=timeout_s))
        if isinstance(answer, _Absent):
            continue
        read += answer
        if model == 1:
            found.common = _common(answer[0].data)
    found.responses = tuple(read)


def _common(data: bytes) -> dict[str, str]:
    said = {}
    for name, point in _COMMON.items():
        place = sunspec_models.place(1, point)
        start = 2 * place.offset
        said[name] = identification.text(data[start : start + 2 * place.point.size])
    return {name: text for name, text in said.items() if text}


async def _match(line: _Line, found: Found, progress: Callable[[str], None]) -> None:
    """Which shipped profiles may be the unit's, the most certain first."""
    found.matches += [
        match for profile in _shipped("sunspec") if (match := _by_models(profile, found))
    ]
    answers: _Answers = {}
    undecided = []
    for profile in _shipped("modbus"):
        if profile.identify:
            progress(f"unit {found.unit}: is it {profile.model}?")
        told = await _told(line, found.unit, profile.identify, answers)
        if told.proof:
            match = await _tried(line, found.unit, profile, "identified", told.proof)
            if match.good:
                found.matches.append(match)
        elif not told.is_refuted:
            undecided.append(profile)
    if not found.matches and not found.models:
        found.matches += await _plausible(line, found, undecided, progress)
    order = list(CERTAINTY)
    found.matches.sort(key=lambda m: (order.index(m.how), -m.evidence, -m.points, m.profile))


async def _plausible(
    line: _Line, found: Found, profiles: Sequence[Profile], progress: Callable[[str], None]
) -> list[Match]:
    """The profiles whose every request the unit answers, with values that can be true."""
    matches, silent = [], 0
    text = " ".join(found.identification.values()).lower()
    for profile in sorted(profiles, key=lambda profile: not _is_named(profile, text)):
        progress(f"unit {found.unit}: could it be {profile.model}?")
        how: How = "named" if _is_named(profile, text) else "plausible"
        match = await _tried(line, found.unit, profile, how, "")
        if match.points and not match.failed and match.evidence >= _LEAST_EVIDENCE:
            matches.append(match)
        silent = silent + 1 if TIMEOUT in match.failed else 0
        if silent == MOST_SILENT:
            break
    return matches


@lru_cache(maxsize=2)
def _shipped(protocol: str) -> tuple[Profile, ...]:
    names = [n for n in joulemark_profiles.names("devices") if not n.startswith("virtual_")]
    profiles = (load_profile(name)[0] for name in names)
    return tuple(profile for profile in profiles if profile.protocol == protocol)


def _by_models(profile: Profile, found: Found) -> Match | None:
    """A SunSpec profile fits where all its models are there, each as long as it must be."""
    wanted = {request.address: request.count for request in plan_requests(profile)}
    if not wanted or any(
        found.models.get(model, -2) + 2 < words for model, words in wanted.items()
    ):
        return None
    why = f"SunSpec model{'s' if len(wanted) > 1 else ''} {', '.join(map(str, wanted))}"
    return _judged(profile, "models", why, found.responses)


@dataclass(frozen=True)
class _Told:
    """What the registers that tell a model say of one profile."""

    is_refuted: bool = False
    proof: str = ""  # empty: nothing speaks against it, and nothing for it


async def _told(line: _Line, unit: int, rules: Sequence[Identify], answers: _Answers) -> _Told:
    """Each register is asked for once, whatever number of profiles know it."""
    proofs = []
    for rule in rules:
        request = Request(rule.table, rule.address, rule.words)
        if request not in answers:
            answers[request] = await _or_absent(_words(line, unit, request, PATIENT))
        data = answers[request]
        if isinstance(data, _Absent):
            if rule.unreadable == "refuse":
                return _Told(is_refuted=True)
        elif not identifies(rule, data):
            return _Told(is_refuted=True)
        elif rule.expected:
            note = f" ({rule.note})" if rule.note else ""
            proofs.append(f"{rule.table} register {rule.address} is {found_in(rule, data)}{note}")
    return _Told(proof="; ".join(proofs))


async def _tried(line: _Line, unit: int, profile: Profile, how: How, why: str) -> Match:
    """The profile read once on the unit; the first refusal ends it."""
    responses = []
    for request in plan_requests(profile):
        data = await _or_absent(_words(line, unit, request, PATIENT))
        if isinstance(data, _Absent):
            if how == "identified":
                continue
            return Match(profile.model, how, why, failed=(data.code,))
        responses.append(Response(request.table, request.address, data))
    return _judged(profile, how, why, responses)


def _judged(profile: Profile, how: How, why: str, responses: Sequence[Response]) -> Match:
    """What the answers are worth if the profile is right."""
    values, quality = decode_responses(profile, responses)
    said = verdicts(profile, [sample_of(0.0, values, quality)])
    good = [name for name in values if name not in quality]
    evidence = [verdict for verdict in said if verdict.holds and _is_telling(verdict, values)]
    rules = [rule for rule in _TELLING if any(verdict.rule == rule for verdict in evidence)]
    return Match(
        profile=profile.model,
        how=how,
        why=why or ", ".join(_TELLING[rule][1] for rule in rules),
        good=len(good),
        points=len(profile.points),
        shown=tuple(Shown(name, values[name], unit_of(name) or "") for name in _foremost(good)),
        evidence=sum(_TELLING[verdict.rule][0] for verdict in evidence),
        failed=tuple(v.found for v in said if v.holds is False),
    )


def _is_telling(verdict: Verdict, values: Mapping[str, str]) -> bool:
    """Whether it would hardly hold by chance: of single values, frequency and voltages only."""
    if verdict.rule != "range":
        return verdict.rule in _TELLING
    [name] = verdict.points
    return unit_of(name) in {"Hz", "V"} and float(values.get(name, 0)) != 0


_FOREMOST = ("power_w", "ac_power_w", "energy_wh", "generated_wh", "frequency_hz", "voltage_l1_v")


def _foremost(names: Sequence[str]) -> list[str]:
    """The few values that somebody beside the machine can compare."""
    first = [name for name in _FOREMOST if name in names]
    return (first + [name for name in names if name not in first])[:4]


def _is_named(profile: Profile, text: str) -> bool:
    """Whether what the device says of itself holds the maker's name of the profile's file."""
    words = re.findall(r"[a-z]{4,}", profile.model.partition("_")[0])
    return any(word in text for word in words)
