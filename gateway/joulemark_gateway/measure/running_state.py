"""What is kept of a running saving between two units, as plain values that lose no digit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.arrivals import Seen
from joulemark_gateway.measure.qr import Array

FORMAT = "running-saving-1"
_LARGEST = 2**53  # that every reader of JSON keeps


@dataclass(frozen=True, eq=False)
class State:
    """The sums over the units seen: first those of all of them, then of each month."""

    sha256: str  # of what it belongs to
    seen: Seen | None  # None: nothing
    months: tuple[str, ...]  # like 2026-11, in the order of time
    kept: tuple[int, ...]  # units of each month
    saved_wh: Array  # (1 + K,)
    carried: Array  # sum of w rb^(t - t_i) at the last that counted, (1 + K,)
    own: Array  # w'R w, (1 + K, 1 + K)
    pulled: Array  # sum of w x in the orthonormal basis, (1 + K, p)

    @classmethod
    def empty(cls, sha256: str, p: int) -> State:
        """Before the first unit, for a model of p parameters."""
        return cls(
            sha256, None, (), (), np.zeros(1), np.zeros(1), np.zeros((1, 1)), np.zeros((1, p))
        )

    def copied(self, seen: Seen, months: Sequence[str], kept: Sequence[int]) -> State:
        """The sums once more, with 0 for months behind those that are there."""
        old, new = self.saved_wh.size, 1 + len(months)
        saved_wh, carried = np.zeros(new), np.zeros(new)
        own, pulled = np.zeros((new, new)), np.zeros((new, self.pulled.shape[1]))
        saved_wh[:old], carried[:old] = self.saved_wh, self.carried
        own[:old, :old], pulled[:old] = self.own, self.pulled
        return State(self.sha256, seen, tuple(months), tuple(kept), saved_wh, carried, own, pulled)

    def document(self) -> dict[str, Any]:
        """All of it as plain values; what has digits behind the point as hexadecimal text."""
        seen = self.seen
        return {
            "format": FORMAT,
            "sha256": self.sha256,
            "seen": None
            if seen is None
            else [seen.start_us, seen.position, seen.counted_at, seen.missing],
            "months": list(self.months),
            "kept": list(self.kept),
            "saved_wh": _text(self.saved_wh),
            "carried": _text(self.carried),
            "own": [_text(row[: g + 1]) for g, row in enumerate(self.own)],  # it is symmetric
            "pulled": [_text(row) for row in self.pulled],
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> State:
        """The state that a document was made of.

        Raises:
            MeasureError: `bad_state`.
        """
        try:
            return _read(document)
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise MeasureError(
                f"This is no state of a running saving: {error!r}.",
                "Begin again with all units of the reporting period.",
                code="bad_state",
            ) from error


def _read(document: Mapping[str, Any]) -> State:
    if document["format"] != FORMAT:
        raise ValueError(document["format"])
    months = tuple(_of(str, value) for value in document["months"])
    kept = tuple(_of(int, value) for value in document["kept"])
    sums = 1 + len(months)
    saved_wh, carried = _numbers(document["saved_wh"]), _numbers(document["carried"])
    triangle = [_numbers(row) for row in document["own"]]
    pulled = np.array([_numbers(row) for row in document["pulled"]])
    sizes = {saved_wh.size, carried.size, len(triangle), pulled.shape[0], 1 + len(kept)}
    if sizes != {sums} or pulled.ndim != 2:
        raise ValueError(f"sums of {sorted(sizes)} periods for {sums}")
    own = np.zeros((sums, sums))
    for g, row in enumerate(triangle):
        own[g, : g + 1] = own[: g + 1, g] = row.reshape(g + 1)
    if np.diag(own).min() < 0:
        raise ValueError("a variance is below 0")
    seen = None
    if document["seen"] is not None:
        start_us, position, counted_at, missing = (_of(int, one) for one in document["seen"])
        if max(map(abs, (start_us, position, counted_at))) > _LARGEST or counted_at > position:
            raise ValueError(document["seen"])
        seen = Seen(start_us, position, counted_at, missing)
    sha256 = _of(str, document["sha256"])
    return State(sha256, seen, months, kept, saved_wh, carried, own, pulled)


def _of(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _text(values: Array) -> list[str]:
    return [value.hex() for value in values.tolist()]


def _numbers(texts: Sequence[str]) -> Array:
    values = [float.fromhex(text) for text in texts]
    if not all(map(math.isfinite, values)):
        raise ValueError("a value is no number")
    return np.array(values)
