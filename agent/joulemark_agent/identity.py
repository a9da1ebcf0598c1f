"""Whether a device is the model its profile is for: asked before a word of it is believed.

A device that is another, or does not say what it is, has no readings: its slots are gaps with the
cause `wrong_device` or `not_identified`. It costs one request per rule and connection.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import Identify
from joulemark_agent.drivers.base import Driver, Request
from joulemark_agent.kernels.decode import found_in, identifies

log = logging.getLogger(__name__)

WRONG_DEVICE, NOT_IDENTIFIED = "wrong_device", "not_identified"
_REFUSAL = "exception_"  # how the code begins when the device, or a gateway, says no
_NOT_ITS_OWN = ("exception_05", "exception_06", "exception_10", "exception_11")  # busy, or away


async def prove(
    driver: Driver, device: str, unit: int, rules: Sequence[Identify], *, timeout_s: float
) -> None:
    """Return if every rule holds.

    Args:
        driver: the open connection.
        device: its id, for messages.
        unit: its number on the line.
        rules: what its profile says of it.
        timeout_s: for each answer. [s]

    Raises:
        DeviceError: `wrong_device`, `not_identified`, or what reading the registers raised.
    """
    for rule in rules:
        request = Request(rule.table, rule.address, rule.words)
        try:
            (response,) = await driver.read(unit, (request,), timeout_s=timeout_s)
        except DeviceError as error:
            if not error.code.startswith(_REFUSAL) or error.code in _NOT_ITS_OWN:
                raise
            _refuse_or_warn(device, rule, error)
            continue
        if not identifies(rule, response.data):
            raise _wrong(device, rule, response.data)


def _wrong(device: str, rule: Identify, data: bytes) -> DeviceError:
    found, words = found_in(rule, data), data.hex(" ", 2).upper()
    return DeviceError(
        f"{device} is another device: {_place(rule)} holds {found!s} (0x{words}), and"
        f" {_wanted(rule)} was wanted{f' ({rule.note})' if rule.note else ''}.",
        "Look at the device's type plate and set 'profile' to its model, or 'url' and 'unit' to the"
        " right device. If it is a new variant of this model, say so in a copy of the profile.",
        code=WRONG_DEVICE,
    )


def _refuse_or_warn(device: str, rule: Identify, error: DeviceError) -> None:
    what = f"{device} does not say what it is: {error.what}"
    if rule.unreadable == "warn":
        do = "It is read all the same, as its profile says: compare its values with its display."
        fields = {"device": device, "cause": NOT_IDENTIFIED, "what": what, "do": do}
        log.warning("device_not_identified", extra=fields)
        return
    raise DeviceError(
        what,
        f"{_place(rule)} proves the model, so another one may answer: look at its type plate. For"
        " devices that lack the register, write 'unreadable: warn' into a copy of the profile.",
        code=NOT_IDENTIFIED,
    ) from error


def _place(rule: Identify) -> str:
    """Table and addresses, decimal and as manuals have them."""
    last = f" to {rule.end - 1}" if rule.words > 1 else ""
    return f"{rule.table} {rule.address}{last} (0x{rule.address:04X})"


def _wanted(rule: Identify) -> str:
    values = [str(value) for value in rule.expected or rule.excluded]
    shown = ", ".join(values[:6]) + (f" or {len(values) - 6} others" if len(values) > 6 else "")
    if rule.expected:
        return shown if len(values) == 1 else f"one of {shown}"
    return f"none of {shown}"
