"""What an edge node has to say, message by message: births, data and deaths in their order. Pure.

The node knows its sequence number, its aliases and which devices are born; who sends the messages,
and when, is `session`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.sparkplug.payload import (
    BOOLEAN,
    DOUBLE,
    INT32,
    INT64,
    STRING,
    Metric,
    Payload,
    Property,
    payload_bytes,
)

ROOT = "spBv1.0"
BDSEQ, REBIRTH = "bdSeq", "Node Control/Rebirth"
GOOD, BAD = 192, 0  # qualities of the specification, section 6.4.13


@dataclass(frozen=True)
class Message:
    """What is to be published; nothing of Sparkplug's data is retained."""

    topic: str
    payload: bytes
    qos: int = 0


@dataclass(frozen=True)
class Sample:
    """One reading as a host sees it."""

    device: str
    time_ms: int
    values: Mapping[str, str]  # decimal text by point
    quality: Mapping[str, str]  # codes of the points that are not good


Known = Mapping[str, Sample]  # of one device: by point the last sample that has it


def known_with(known: Known, sample: Sample) -> Known:
    """What is known of a device after one more reading, which need not have every point."""
    return {**known, **dict.fromkeys((*sample.values, *sample.quality), sample)}


@dataclass(frozen=True)
class BornDevice:
    """What the birth of a device states besides its metrics."""

    device: str
    profile: Profile
    properties: Mapping[str, str]


@dataclass
class EdgeNode:
    """One edge node in one session: from a connection to its end."""

    group: str
    name: str
    devices: Sequence[BornDevice]
    bdseq: int  # of this connection; the will has the same
    text: Mapping[str, str] = field(default_factory=dict)  # of the node's birth
    newest: Mapping[str, Known] = field(default_factory=dict)  # of the devices that answer
    _seq: int = 0

    def __post_init__(self) -> None:
        """Give every metric of every device an alias of its own."""
        self._known = dict(self.newest)
        self._alive = set(self.newest)
        names = [(d.device, point.name) for d in self.devices for point in d.profile.points]
        self._alias = {place: number for number, place in enumerate(names, 1)}
        self._by_name = {device.device: device for device in self.devices}

    def topic(self, kind: str, device: str | None = None) -> str:
        """A topic of this node, or of a device of it."""
        base = f"{ROOT}/{self.group}/{kind}/{self.name}"
        return base if device is None else f"{base}/{device}"

    def death(self, now_ms: int) -> Message:
        """The death of the node: the will of its connection, and its last word; without `seq`."""
        metric = Metric(BDSEQ, timestamp_ms=now_ms, datatype=INT64, value=self.bdseq)
        return Message(self.topic("NDEATH"), payload_bytes(Payload(now_ms, (metric,))), qos=1)

    def births(self, now_ms: int) -> list[Message]:
        """The birth of the node, with sequence number 0, and of every device that has answered."""
        self._seq = 0
        metrics = [
            Metric(BDSEQ, timestamp_ms=now_ms, datatype=INT64, value=self.bdseq),
            Metric(REBIRTH, timestamp_ms=now_ms, datatype=BOOLEAN, value=False),
            *(
                Metric(f"Properties/{name}", None, now_ms, STRING, text)
                for name, text in self.text.items()
            ),
        ]
        first = Message(self.topic("NBIRTH"), self._numbered(now_ms, metrics))
        alive = [device.device for device in self.devices if device.device in self._alive]
        return [first, *(self._device_birth(device, now_ms) for device in alive)]

    def data(self, sample: Sample, now_ms: int, *, is_historical: bool = False) -> list[Message]:
        """A reading; the birth of its device comes before the first one, and after its death.

        Args:
            sample: the reading.
            now_ms: when it is sent, UTC.
            is_historical: it waited while nobody listened, and is not the state of now.
        """
        if sample.device not in self._by_name:
            return []
        before: list[Message] = []
        if sample.device not in self._alive:
            self._alive.add(sample.device)
            self._known.setdefault(sample.device, known_with({}, sample))
            before = [self._device_birth(sample.device, now_ms)]
        if not is_historical:
            known = self._known.get(sample.device, {})
            self._known[sample.device] = known_with(known, sample)
        if not (metrics := self._metrics(sample, is_historical=is_historical)):
            return before
        payload = self._numbered(now_ms, metrics)
        return [*before, Message(self.topic("DDATA", sample.device), payload)]

    def silence(self, device: str, now_ms: int) -> list[Message]:
        """The death of a device that answers no more; nothing where it was not born."""
        if device not in self._alive:
            return []
        self._alive.discard(device)
        return [Message(self.topic("DDEATH", device), self._numbered(now_ms, ()))]

    def _device_birth(self, name: str, now_ms: int) -> Message:
        device, known = self._by_name[name], self._known.get(name, {})
        metrics = [
            self._born(device, point.name, known.get(point.name), now_ms)
            for point in device.profile.points
        ]
        metrics += [
            Metric(f"Properties/{key}", None, now_ms, STRING, text)
            for key, text in device.properties.items()
        ]
        metrics.sort(key=lambda metric: metric.timestamp_ms or 0)  # as the specification wants
        return Message(self.topic("DBIRTH", name), self._numbered(now_ms, metrics))

    def _born(self, device: BornDevice, point: str, sample: Sample | None, now_ms: int) -> Metric:
        """A metric of a birth: name, alias, type, unit, quality and its value, if it has one."""
        value = None if sample is None else _value_of(sample, point)
        quality = GOOD if value is not None else BAD
        return Metric(
            point,
            self._alias[device.device, point],
            now_ms if sample is None else sample.time_ms,
            DOUBLE,
            value,
            properties=(
                Property("Quality", INT32, quality),
                Property("engUnit", STRING, unit_of(point) or ""),
            ),
        )

    def _metrics(self, sample: Sample, *, is_historical: bool) -> list[Metric]:
        """The metrics of data: by alias alone, their types stand in the birth."""
        profile = self._by_name[sample.device].profile
        found = []
        for name in [point.name for point in profile.points]:
            if name not in sample.values and name not in sample.quality:
                continue
            value = _value_of(sample, name)
            properties = () if value is not None else (Property("Quality", INT32, BAD),)
            alias = self._alias[sample.device, name]
            found.append(
                Metric(None, alias, sample.time_ms, None, value, is_historical, properties)
            )
        return found

    def _numbered(self, now_ms: int, metrics: Iterable[Metric]) -> bytes:
        payload = Payload(now_ms, tuple(metrics), self._seq)
        self._seq = (self._seq + 1) % 256
        return payload_bytes(payload)


def _value_of(sample: Sample, point: str) -> float | None:
    """A good value as a host takes it; a doubtful one is none, and its quality says so."""
    text = None if point in sample.quality else sample.values.get(point)
    return None if text is None else float(text)
