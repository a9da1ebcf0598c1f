"""One connection per host:port or serial port, shared by every device behind it.

A line opens when something is first read, is dropped after any doubt, and after failed attempts
waits 1, 2, 4 and then 8 s between them, so that an absent host costs the others nothing. How long a
device is waited for and how often one that fails is asked is said in `fairness.py` (a device, not a
unit: all those of an OPC UA server have unit 0), what it refuses in `refused.py`. What is not asked
has the cause of what was asked last. The driver is the file in `drivers/` whose `SCHEMES`
hold the URL's scheme: `modbus.py` speaks `modbus-tcp`.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

from joulemark_agent import drivers, serial_port
from joulemark_agent.contract.errors import ConfigError, DeviceError
from joulemark_agent.contract.profile import SUNSPEC
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import Driver, Paced, Request
from joulemark_agent.exchange import CLOSED
from joulemark_agent.fairness import Fairness, Standing
from joulemark_agent.holes import Holes
from joulemark_agent.identity import prove
from joulemark_agent.plan import US_PER_S, PlannedDevice
from joulemark_agent.refused import Book, Refusals

if TYPE_CHECKING:
    from joulemark_agent.http_login import Login
    from joulemark_agent.http_trust import Trust
    from joulemark_agent.opcua_access import Access

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 3.0  # who is back is read again within 5 s
IN_MODBUS = ("modbus", "sunspec")  # how a scheme begins whose devices share a wire
IDLE_S = 30.0  # a connection unused for longer may have been forgotten by a firewall: open another


class DriverModule(Protocol):
    """What a file in `drivers/` exports."""

    SCHEMES: tuple[str, ...]
    DEFAULT_PORT: int
    HAS_PATH: bool  # whether a URL may name a place on the server after host and port

    async def connect(self, url: str, *, timeout_s: float, **options: Any) -> Driver:
        """An open connection; only a protocol that knows security is told of any."""


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
    # The one whose name the scheme begins with first: the others need not be imported then.
    for name in sorted(protocols(), key=lambda name: not scheme.startswith(name.replace("_", "-"))):
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
        usual = getattr(module, "PORTS", {}).get(parts.scheme, module.DEFAULT_PORT)
        host, port = parts.hostname, usual if parts.port is None else parts.port
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


def by_line(devices: Iterable[PlannedDevice]) -> dict[str, tuple[PlannedDevice, ...]]:
    """The devices of each line, in their order.

    A driver for SunSpec reads plain Modbus registers too: where it is needed it reads them all,
    for many an inverter takes one connection only.
    """
    those = [(line_of(device.url), device) for device in devices]
    lines = {url for url, _ in those}
    found: dict[str, tuple[PlannedDevice, ...]] = {}
    for url, device in those:
        wider = url.replace("modbus-", "sunspec-", 1)
        name = wider if wider in lines else url
        found[name] = (*found.get(name, ()), device)
    return found


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
    longest_s: float = LONGEST_WAIT_S
    until_s: float = 0.0
    error: DeviceError | None = None

    def begin(self, now_s: float, error: DeviceError) -> None:
        """It failed."""
        self.until_s, self.error = now_s + self.wait_s, error
        self.wait_s = min(max(2 * self.wait_s, FIRST_WAIT_S), self.longest_s)

    def check(self, now_s: float) -> None:
        """Raise the same error while it is too early."""
        if self.error is not None and now_s < self.until_s:
            raise self.error.with_traceback(None)  # which would grow each time


class Line:
    """One connection, opened when needed; one device is read at a time."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        delay_s: float = 0.0,
        security: Access | Login | None = None,
        trust: Trust | None = None,
        is_shared: bool = False,
        book: Book | None = None,
        lost: Iterable[str] = (),
        now_s: Callable[[], float] | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            url: what `line_of` gives.
            timeout_s: for opening. [s]
            delay_s: quiet time after opening. [s]
            security: of the server, where it is locked.
            trust: whom to believe over https, where it is not left to this machine.
            is_shared: whether devices wait for each other, each with slots to keep.
            book: what devices are known to refuse.
            lost: devices whose subscription ended with another line, and it was not yet told.
            now_s: monotonic time; None: that of the event loop. [s]
        """
        self.url = url
        self._timeout_s, self._delay_s = timeout_s, delay_s
        self._now_s = now_s or _loop_s
        self._module = _module(protocol_of(url))
        options = {"security": security, "trust": trust}
        self._options = {name: given for name, given in options.items() if given is not None}
        self._driver: Driver | None = None
        self._used_s = 0.0  # end of the last read
        # A protocol may have its own.
        self._longest_s = getattr(self._module, "LONGEST_WAIT_S", LONGEST_WAIT_S)
        self._idle_s = getattr(self._module, "IDLE_S", IDLE_S)
        self._rest = _Rest(FIRST_WAIT_S, self._longest_s)
        self._fairness = Fairness(is_shared=is_shared)
        self._book = Book() if book is None else book
        self._refusals: dict[str, Refusals] = {}
        self._is_paced = False  # the driver there is
        self._proven: dict[str, float] = {}  # devices that said what they are: when last read
        self._holes = Holes(lost)

    async def read(self, device: PlannedDevice, slot_us: int | None = None) -> tuple[Response, ...]:
        """The responses for the device's points.

        A connection that turns out to have been closed since its last use is opened again once.

        Args:
            device: what to read.
            slot_us: the slot, at which some of its points may not be due; None: all are. [us UTC]

        Raises:
            DeviceError: of opening or of reading.
        """
        try:
            responses = await self._read(device, slot_us)
        except DeviceError:
            self._holes.note_gap(device)
            raise
        self._holes.note_reading(device)
        return responses

    @property
    def untold(self) -> set[str]:
        """The devices that lose what their subscriptions had when the line is closed now."""
        return self._holes.untold

    def standing(self, device: PlannedDevice) -> Standing:
        """What is known of how the device answers; after a period its answer is of no use."""
        return self._fairness.of(device.id, min(device.timeout_s, device.period_us / US_PER_S))

    async def _read(self, device: PlannedDevice, slot_us: int | None) -> tuple[Response, ...]:
        self.standing(device).check(self._now_s())
        driver, is_new = await self._open()
        self._holes.check(device)
        begun_s = self._now_s()
        try:
            return await self._turn(driver, device, slot_us, begun_s, is_new=is_new)
        except DeviceError as error:
            if is_new or error.code != CLOSED:
                raise
        driver, _ = await self._open()
        self._holes.check(device)
        return await self._turn(driver, device, slot_us, begun_s, is_new=True)

    async def close(self) -> None:
        """Give the connection back; the next read opens another."""
        driver, self._driver = self._driver, None
        self._proven.clear()
        if driver is not None:
            await driver.close()

    async def _open(self) -> tuple[Driver, bool]:
        now_s = self._now_s()
        if self._driver is not None:
            if self._driver.is_open and now_s - self._used_s <= self._idle_s:
                return self._driver, False
            await self.close()
        self._rest.check(now_s)
        try:
            self._driver = await self._module.connect(
                self.url, timeout_s=self._timeout_s, **self._options
            )
        except DeviceError as error:
            self._rest.begin(self._now_s(), error)
            raise
        self._is_paced = isinstance(self._driver, Paced)  # asked once: it is no cheap question
        self._rest = _Rest(FIRST_WAIT_S, self._longest_s)
        self._holes.note_connection()
        self._used_s = self._now_s()
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        return self._driver, True

    async def _turn(
        self,
        driver: Driver,
        device: PlannedDevice,
        slot_us: int | None,
        begun_s: float,
        *,
        is_new: bool,
    ) -> tuple[Response, ...]:
        """Read the device, and take account of what it has cost since the read began."""
        standing = self.standing(device)
        timeout_s = standing.timeout_s(self._now_s())
        ask = partial(self._ask, driver, device, timeout_s)
        try:
            if standing.is_suspect and self._fairness.is_shared:
                await self._probe(device, ask)
            if device.identify and not self._is_proven(device):
                await self._prove(driver, device, timeout_s)
            responses = await self._responses(device, ask, slot_us)
        except DeviceError as error:
            self._proven.pop(device.id, None)  # another may answer when one does again
            if is_new or error.code != CLOSED:
                now_s = self._now_s()
                cost_s = now_s - begun_s + (0.0 if driver.is_open else self._delay_s)
                standing.note_failure(error, now_s, timeout_s, cost_s)
            raise
        finally:
            self._used_s = self._now_s()
        self._proven[device.id] = self._used_s
        standing.note_success()
        return responses

    async def _probe(self, device: PlannedDevice, ask: _Ask) -> None:
        """Ask a suspect for as little as possible; what it says does not matter."""
        request = self._known(device).cheapest
        if request is None and device.requests[0].table == SUNSPEC:
            request = min(device.requests, key=lambda request: request.count)
        if request is None:
            return  # of another protocol all is one question
        try:
            await ask((request,))
        except DeviceError as error:
            if not error.code.startswith(_REFUSAL) or error.code in _GATEWAYS:
                raise

    async def _prove(self, driver: Driver, device: PlannedDevice, timeout_s: float) -> None:
        await self._pause(driver, device)
        await prove(driver, device.id, device.unit, device.identify, timeout_s=timeout_s)
        self._used_s = self._now_s()

    def _is_proven(self, device: PlannedDevice) -> bool:
        """Whether it said on this connection what it is, and nobody can have exchanged it since."""
        read_s = self._proven.get(device.id)
        return read_s is not None and self._now_s() - read_s <= IDLE_S

    async def _responses(
        self, device: PlannedDevice, ask: _Ask, slot_us: int | None
    ) -> tuple[Response, ...]:
        if not device.fields:
            return await ask(device.requests)

        async def ask_one(request: Request) -> Response:
            [response] = await ask((request,))
            return response

        return await self._known(device).read(ask_one, slot_us, self._now_s())

    def _known(self, device: PlannedDevice) -> Refusals:
        if device.id not in self._refusals:
            self._refusals[device.id] = self._book.of(device, self._now_s())
        return self._refusals[device.id]

    async def _ask(
        self,
        driver: Driver,
        device: PlannedDevice,
        timeout_s: float,
        requests: tuple[Request, ...],
    ) -> tuple[Response, ...]:
        await self._pause(driver, device)
        begun_s = self._now_s()
        responses = await driver.read(device.unit, requests, timeout_s=timeout_s)
        self._used_s = self._now_s()
        self.standing(device).note_answer(self._used_s - begun_s)
        return responses

    async def _pause(self, driver: Driver, device: PlannedDevice) -> None:
        """Keep the device's quiet time, or have it kept."""
        if self._is_paced:
            cast("Paced", driver).pace(device.pause_s)
        elif device.pause_s:
            await asyncio.sleep(self._used_s + device.pause_s - self._now_s())


class Lines:
    """The lines of some devices; the same line for all that share host and port."""

    def __init__(
        self,
        devices: Iterable[PlannedDevice],
        *,
        is_shared: bool = False,
        book: Book | None = None,
        lost: Collection[str] = (),
    ) -> None:
        """Nothing is opened yet.

        Args:
            devices: what is read.
            is_shared: whether slots are to be kept, so that those of a Modbus line, where a
                question takes its time, wait for each other.
            book: what devices are known to refuse.
            lost: devices whose subscription ended with another line, and it was not yet told.
        """
        shared = by_line(devices)
        self._lines = {
            url: Line(
                url,
                timeout_s=max(device.timeout_s for device in those),
                delay_s=max(device.connect_delay_s for device in those),
                security=those[0].security,  # all say the same: the site file was checked
                trust=those[0].trust,
                is_shared=is_shared and len(those) > 1 and url.startswith(IN_MODBUS),
                book=book,
                lost=lost,
            )
            for url, those in shared.items()
        }
        self._by_device = {
            device.id: self._lines[url] for url, those in shared.items() for device in those
        }

    def of(self, device: PlannedDevice) -> Line:
        """The device's line."""
        return self._by_device[device.id]

    @property
    def untold(self) -> set[str]:
        """The devices that lose what their subscriptions had when the lines are closed now."""
        return set[str]().union(*(line.untold for line in self._lines.values()))

    async def close(self) -> None:
        """Give every connection back."""
        for line in self._lines.values():
            await line.close()


_Ask = Callable[[tuple[Request, ...]], Awaitable[tuple[Response, ...]]]
_REFUSAL = "exception_"  # how the code of what a device or a gateway says begins
_GATEWAYS = ("exception_10", "exception_11")  # which say that the device says nothing
_ADDRESS = "Write it as 'modbus-tcp://192.0.2.10:502'."


def _loop_s() -> float:
    return asyncio.get_running_loop().time()


def _module(protocol: str) -> DriverModule:
    return cast(DriverModule, importlib.import_module(f"{drivers.__name__}.{protocol}"))
