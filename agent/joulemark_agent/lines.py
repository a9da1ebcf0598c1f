"""One connection per host:port or serial port, shared by every device behind it.

A line opens when something is first read, is dropped after any doubt, and after failed attempts
waits 1, 2, 4 and then 8 s between them, so that an absent host costs the others nothing. A device
that is silent twice in a row is left alone for as long, so that it costs the others of its line one
timeout in that time (a device, not a unit: all those of an OPC UA server have unit 0). What is not
asked has the cause of what was asked last. The driver is the file in `drivers/` whose `SCHEMES`
hold the URL's scheme: `modbus.py` speaks `modbus-tcp`.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import urlsplit

from joulemark_agent import drivers, serial_port
from joulemark_agent.contract.errors import ConfigError, DeviceError
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import Driver
from joulemark_agent.exchange import CLOSED, TIMEOUT
from joulemark_agent.plan import PlannedDevice

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 8.0
IDLE_S = 30.0  # a connection unused for longer may have been forgotten by a firewall: open another


class DriverModule(Protocol):
    """What a file in `drivers/` exports."""

    SCHEMES: tuple[str, ...]
    DEFAULT_PORT: int
    HAS_PATH: bool  # whether a URL may name a place on the server after host and port

    async def connect(self, url: str, *, timeout_s: float) -> Driver:
        """An open connection."""


def protocols() -> list[str]:
    """The protocols that can be spoken: the file names in `drivers/`."""
    names = {module.name for module in pkgutil.iter_modules(drivers.__path__)}
    return sorted(names - {"base"})


def protocol_of(url: str) -> str:
    """The protocol that speaks a URL's scheme.

    Raises:
        ConfigError: there is no driver for it.
    """
    scheme = urlsplit(url).scheme
    known: list[str] = []
    for name in protocols():
        if scheme in (schemes := _module(name).SCHEMES):
            return name
        known += schemes
    raise ConfigError(
        f"There is no driver for {scheme!r}.",
        f"Write scheme://host:port, or scheme:///dev/NAME; the schemes are: {', '.join(known)}.",
    )


def line_of(url: str) -> str:
    """The URL with its port: the same for all devices that share a connection.

    Raises:
        ConfigError: no such driver, no host, no port, or more than that in it.
    """
    try:
        parts = urlsplit(url)
        module = _module(protocol_of(url))
        if parts.scheme in getattr(module, "SERIAL_SCHEMES", ()):
            return serial_port.settings_of(url).url
        host, port = parts.hostname, module.DEFAULT_PORT if parts.port is None else parts.port
        path = parts.path.strip("/")
        is_whole = bool(port) and is_host(host)
    except ValueError as error:
        raise ConfigError(f"{url!r} is not an address: {error}.", _ADDRESS) from error
    if (
        host is None
        or not is_whole
        or parts.username
        or (path and not (module.HAS_PATH and is_path(path)))
        or parts.query
        or parts.fragment
    ):
        raise ConfigError(f"{url!r} is not the address of a line.", _ADDRESS)
    place = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    return f"{place}/{path}" if path else place


def is_path(text: str) -> bool:
    """Whether it can stand after host and port as it is."""
    return text.isascii() and text.isprintable() and " " not in text


def is_host(name: str | None) -> bool:
    """Whether a resolver can be asked for it.

    Raises:
        ValueError: a part of it is empty or longer than 63 characters.
    """
    if not name or not name.isascii() or not name.isprintable() or " " in name:
        return False
    name.encode("idna")
    return True


@dataclass
class _Rest:
    """When to try again after failures, each wait twice as long as the one before."""

    wait_s: float  # after the next failure
    until_s: float = 0.0
    error: DeviceError | None = None

    def begin(self, now_s: float, error: DeviceError) -> None:
        """It failed."""
        self.until_s, self.error = now_s + self.wait_s, error
        self.wait_s = min(max(2 * self.wait_s, FIRST_WAIT_S), LONGEST_WAIT_S)

    def check(self, now_s: float) -> None:
        """Raise the same error while it is too early."""
        if self.error is not None and now_s < self.until_s:
            raise self.error


class Line:
    """One connection, opened when needed; one device is read at a time."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        delay_s: float = 0.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is opened yet.

        Args:
            url: what `line_of` gives.
            timeout_s: for opening. [s]
            delay_s: quiet time after opening. [s]
            now_s: monotonic time; a test brings its own. [s]
        """
        self.url = url
        self._timeout_s, self._delay_s, self._now_s = timeout_s, delay_s, now_s
        self._module = _module(protocol_of(url))
        self._driver: Driver | None = None
        self._used_s = 0.0  # end of the last read
        self._rest = _Rest(FIRST_WAIT_S)
        self._silent: dict[str, _Rest] = {}  # devices: one lost answer is not yet a dead one

    async def read(self, device: PlannedDevice) -> tuple[Response, ...]:
        """The responses to the device's requests.

        A connection that turns out to have been closed since its last use is opened again once.

        Raises:
            DeviceError: of opening or of reading.
        """
        if (silent := self._silent.get(device.id)) is not None:
            silent.check(self._now_s())
        driver, is_new = await self._open()
        try:
            return await self._ask(driver, device)
        except DeviceError as error:
            if is_new or error.code != CLOSED:
                raise
        driver, _ = await self._open()
        return await self._ask(driver, device)

    async def close(self) -> None:
        """Give the connection back; the next read opens another."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await driver.close()

    async def _open(self) -> tuple[Driver, bool]:
        now_s = self._now_s()
        if self._driver is not None:
            if self._driver.is_open and now_s - self._used_s <= IDLE_S:
                return self._driver, False
            await self.close()
        self._rest.check(now_s)
        try:
            self._driver = await self._module.connect(self.url, timeout_s=self._timeout_s)
        except DeviceError as error:
            self._rest.begin(self._now_s(), error)
            raise
        self._rest = _Rest(FIRST_WAIT_S)
        self._used_s = self._now_s()
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        return self._driver, True

    async def _ask(self, driver: Driver, device: PlannedDevice) -> tuple[Response, ...]:
        try:
            responses = await self._responses(driver, device)
        except DeviceError as error:
            if error.code == TIMEOUT:
                self._silent.setdefault(device.id, _Rest(0.0)).begin(self._now_s(), error)
            raise
        finally:
            self._used_s = self._now_s()
        self._silent.pop(device.id, None)
        return responses

    async def _responses(self, driver: Driver, device: PlannedDevice) -> tuple[Response, ...]:
        if not device.pause_s:
            return await driver.read(device.unit, device.requests, timeout_s=device.timeout_s)
        responses: tuple[Response, ...] = ()
        for request in device.requests:
            await asyncio.sleep(self._used_s + device.pause_s - self._now_s())
            responses += await driver.read(device.unit, (request,), timeout_s=device.timeout_s)
            self._used_s = self._now_s()
        return responses


class Lines:
    """The lines of some devices; the same line for all that share host and port."""

    def __init__(self, devices: Iterable[PlannedDevice]) -> None:
        shared: dict[str, list[PlannedDevice]] = {}
        for device in devices:
            shared.setdefault(line_of(device.url), []).append(device)
        self._by_url = {
            url: Line(
                url,
                timeout_s=max(device.timeout_s for device in those),
                delay_s=max(device.connect_delay_s for device in those),
            )
            for url, those in shared.items()
        }

    def of(self, device: PlannedDevice) -> Line:
        """The device's line."""
        return self._by_url[line_of(device.url)]

    async def close(self) -> None:
        """Give every connection back."""
        for line in self._by_url.values():
            await line.close()


_ADDRESS = "Write it as 'modbus-tcp://192.0.2.10:502'."


def _module(protocol: str) -> DriverModule:
    return cast(DriverModule, importlib.import_module(f"{drivers.__name__}.{protocol}"))
