"""What an agent stated of a machine, window by window, from the leaves of its trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from joulemark_agent.contract.sparse import present
from joulemark_agent.figures import EVENT, FIELDS, states_figures
from joulemark_gateway.api import models, plant, records
from joulemark_gateway.api.answers import Open
from joulemark_gateway.api.machines import freedom
from joulemark_gateway.api.plant import Device

MOST_WINDOWS = 1_000
MOST_LOOKED = 60_000  # leaves that are looked through for one request; a window has 10,000 at most
_CHUNK = 4096
_WINDOWS_BACK = 3
_AFTER = 16  # leaves: a statement follows the reading that closes its window
_MARK = f'"type":"{EVENT}"'.encode()  # in JSON a text cannot hold these bytes


def windows(
    read: Open,
    site: str,
    name: str,
    span_us: tuple[int, int],
    *,
    figure: str | None = None,
    limit: int = 100,
) -> models.StatedWindows:
    """The windows that begin in a span, at most `limit`.

    Args:
        read: where from.
        site: id of the site.
        name: of the device.
        span_us: from, and before which. [us UTC]
        figure: only this one of each window; None: all.
        limit: how many windows.
    """
    device = read.device(site, name)
    found: list[models.StatedWindow] = []
    next_us: int | None = None
    looked = 0
    for one in reversed(device.epochs):
        every_us = one.figures_every_us
        if every_us is None or next_us is not None or len(found) > limit:
            continue
        first = records.lower_bound(read.store, one.head, span_us[0])
        after = records.lower_bound(read.store, one.head, span_us[1] + every_us) + _AFTER
        stop = min(after, one.head.size, first + MOST_LOOKED - looked)
        for window in _stated(read, one, first, stop, figure):
            if span_us[0] <= window.start_us < span_us[1]:
                found.append(window)
            if len(found) > limit:
                break
        looked += max(stop - first, 0)
        if len(found) <= limit and stop < min(after, one.head.size):
            next_us = max(_begun_us(read, one, stop), span_us[0] + every_us)
    if len(found) > limit:
        next_us = found[limit].start_us
    return models.StatedWindows(
        site=site,
        device=name,
        every_us=device.figures_every_us,
        start_us=span_us[0],
        end_us=span_us[1],
        windows=[w for w in found[:limit] if next_us is None or w.start_us < next_us],
        next_us=next_us,
    )


def latest(read: Open, site: str, name: str, before_us: int) -> models.StatedWindow | None:
    """The last window that ends by an instant; None where none is near. [us UTC]"""
    for one in read.device(site, name).epochs:
        every_us = one.figures_every_us
        if every_us is None:
            continue
        stop = records.lower_bound(read.store, one.head, before_us + every_us) + _AFTER
        end = min(stop, one.head.size)
        near = _WINDOWS_BACK * every_us // one.period_us + _CHUNK
        least = max(end - min(near, MOST_LOOKED), 0)
        while end > least:
            start = max(end - _CHUNK, least)
            ended = [w for w in _stated(read, one, start, end, None) if w.end_us <= before_us]
            if ended:
                return ended[-1]
            end = start
    return None


def _stated(
    read: Open, device: Device, start: int, stop: int, figure: str | None
) -> Iterator[models.StatedWindow]:
    """The statements among some leaves, in their order."""
    while start < stop:
        end = min(start + _CHUNK, stop)
        for seq, data in present(read.store.parts(device.head.origin, start, end), start):
            if _MARK in data:
                leaf = records.leaf_of(data, seq)
                told = {key: leaf.content[key] for key in FIELDS if key in leaf.content}
                if leaf.kind == EVENT and states_figures(told):
                    yield _window(told, device.head.epoch, seq, figure)
        start = end


def _begun_us(read: Open, device: Device, stop: int) -> int:
    """When the window began that the leaf lies in at which looking was stopped. [us]"""
    every_us = device.figures_every_us or 1
    for leaf in reversed(records.leaves_of(read.store, device.head, max(stop - _CHUNK, 0), stop)):
        if leaf.kind == "record" and leaf.slot_us is not None:
            return leaf.slot_us // every_us * every_us
    return 0


def _window(
    told: Mapping[str, Any], epoch: int, seq: int, figure: str | None
) -> models.StatedWindow:
    figures = told["figures"]
    return models.StatedWindow(
        start_us=int(told["start"]),
        end_us=int(told["end"]),
        figures=[
            _figure(name, figures[name])
            for name in sorted(figures)
            if figure is None or name == figure
        ],
        absent=[name for name in told["absent"] if figure is None or name == figure],
        findings=list(told["findings"]),
        epoch=epoch,
        seq=seq,
        first_seq=int(told["first_seq"]),
        last_seq=int(told["last_seq"]),
    )


def _figure(name: str, figure: Mapping[str, Any]) -> models.StatedFigure:
    return models.StatedFigure(
        name=name,
        unit=plant.unit(name),
        value=float(figure["value"]),
        covered_ratio=_number(figure["covered"]),
        standard_uncertainty=_number(figure["u"]),
        degrees_of_freedom=freedom(_number(figure["nu"])),
        flags=list(figure["flags"]),
    )


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
