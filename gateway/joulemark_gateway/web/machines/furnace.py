"""A furnace: its batches over time, the energy of each, and what of it held the temperature."""

from __future__ import annotations

from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.equipment import Span
from joulemark_gateway.web import figures
from joulemark_gateway.web.machine_charts import Stack, shares, stacks
from joulemark_gateway.web.machines.base import Panel, View, figure_in, is_limit, told, value_in

_BATCHES = ("batch", "open_batch")
_STATES = ("heat", "soak", "cool", "idle")  # whose energy a batch tells, from below
_SHARES = {"heating": "heat", "holding": "soak", "idle_hot": "idle"}  # of the whole span
_ENERGY, REST = "total_wh", "rest"


def panels(view: View) -> list[Panel]:
    """Energy of each batch, per mass where that is known, and what of it was holding."""
    return [_energy(view), _specific(view), _heating(view)]


def _heating(view: View) -> Panel:
    """Heating against holding and standing idle, over the whole span."""
    words, title = view.words, view.words("machine_heating")
    parts = [(name, view.figure(f"{name}_wh")) for name in _SHARES]
    known = [(name, figure.value) for name, figure in parts if figure is not None and figure.value]
    if not known:
        return Panel(title, empty=view.why("heating_wh", "holding_wh"))
    whole = sum(value for _, value in known)
    key = tuple(
        (_css(_SHARES[name]), _share_told(view, name, value, whole)) for name, value in known
    )
    text = ", ".join(text for _, text in key)
    drawn = shares([(_css(_SHARES[name]), value) for name, value in known], f"{title}: {text}")
    return Panel(title, drawn, words("machine_heating_note"), key)


def _share_told(view: View, name: str, value: float, whole: float) -> str:
    label = view.words.known(f"figure_{name}_wh", name)
    return f"{label} {told('x_wh', value)} ({figures.number(100 * value / whole, 1)} %)"


def _specific(view: View) -> Panel:
    words, title = view.words, view.words("machine_sec")
    batches = view.spans(*_BATCHES)
    names = [f.name for span in batches for f in span.figures if _is_specific(f.name)]
    if not batches:
        return Panel(title, empty=view.why("batch_count"))
    if not names:
        return Panel(title, empty=words("machine_no_mass"))
    name = names[0]
    how = figures.shown_as(name)
    bars = []
    for span in batches:
        figure = figure_in(span.figures, name)
        value = None if figure is None else figure.value
        parts = [] if value is None else [("specific", value * how.factor)]
        is_limited = figure is not None and is_limit(figure)
        bars.append(_bar(view, span, parts, told(name, value), is_limited=is_limited))
    if not any(bar.parts for bar in bars):
        whys = [f.why for span in batches for f in span.figures if f.name == name and f.why]
        return Panel(title, empty=words.told(whys[0]) if whys else words("machine_no_data"))
    key = [("specific", words("machine_key_sec"))]
    if any(bar.is_limited for bar in bars):
        key.append(("limit", words("machine_key_limited")))
    drawn = stacks(bars, how.unit, view.frame("chart_sec"))
    return Panel(title, drawn, words("machine_sec_note"), tuple(key))


def _is_specific(name: str) -> bool:
    """Whether a figure is an energy per mass, or is named as one per charge."""
    unit = unit_of(name) or ""
    return name.endswith(("_wh_kg", "_wh_per_kg", "_j_kg")) or unit in {"Wh/kg", "J/kg"}


def _energy(view: View) -> Panel:
    words, title = view.words, view.words("machine_batches")
    batches = view.spans(*_BATCHES)
    if not batches:
        return Panel(title, empty=view.why("batch_count"))
    bars, used = [], []
    for span in batches:
        parts = _parts(span)
        used += [name for name, _ in parts]
        shown = [(_css(name), value / 1000) for name, value in parts]
        says = [f"{_told(view, name)} {told('x_wh', value)}" for name, value in parts]
        text = told(_ENERGY, value_in(span.figures, _ENERGY))
        bars.append(_bar(view, span, shown, "; ".join([text, *says])))
    if not any(bar.parts for bar in bars):
        return Panel(title, empty=view.why(_ENERGY))
    names = [name for name in (*_STATES, REST) if name in used]
    key = tuple((_css(name), _told(view, name)) for name in names)
    drawn = stacks(bars, "kWh", view.frame("chart_batches"))
    return Panel(title, drawn, words("machine_batches_note"), key)


def _parts(span: Span) -> list[tuple[str, float]]:
    """The energy of a batch by what the furnace did; what is not told apart is the rest. [Wh]"""
    total = value_in(span.figures, _ENERGY)
    if total is None:
        return []
    found = [(name, value_in(span.figures, f"{name}_wh")) for name in _STATES]
    parts = [(name, value) for name, value in found if value]
    rest = total - sum(value for _, value in parts)
    return [*parts, (REST, rest)] if rest > 1e-6 * abs(total) else parts


def _css(name: str) -> str:
    return "state" if name == REST else f"state s-{name}"


def _told(view: View, name: str) -> str:
    if name == REST:
        return view.words("machine_key_rest")
    return view.words(f"span_{name}")


def _bar(
    view: View,
    span: Span,
    parts: list[tuple[str, float]],
    text: str,
    *,
    is_limited: bool = False,
) -> Stack:
    start, end = (figures.instant(at, view.zone) for at in (span.start_us, span.end_us))
    kind = view.words.known(f"span_{span.kind}", span.kind)
    return Stack(
        span.start_us,
        span.end_us,
        parts,
        f"{kind}, {start} – {end[11:]}: {text}",  # noqa: RUF001 a dash is meant
        view.records(span),
        is_limited,
    )
