"""One question, one answer over a serial line: raw bytes, and silence where Modbus wants it.

The port stays open after a late or wrong answer, for there is nothing to hang up on; before every
question the line is listened to until it has been silent for 3.5 characters, and what is heard
until then is thrown away. An answer counts when the same silence has followed it.
Source: MODBUS over serial line 1.02, sections 2.5.1 (framing, silence) and 2.2 (unit numbers).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import math
import os
import posixpath
import termios
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from joulemark_agent.contract.errors import ConfigError, DeviceError
from joulemark_agent.exchange import (
    BAD_REPLY,
    CLOSED,
    REFUSED,
    TIMEOUT,
    UNREACHABLE,
    Asking,
)

BAUDS = (1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400)
PARITIES = ("N", "E", "O")
SILENT_CHARACTERS = 3.5
FAST_BAUD, FAST_SILENCE_S = 19_200, 1.75e-3  # above this speed the silence has one length
_DEFAULTS = {"baud": "19200", "parity": "E", "stop_bits": "1"}  # section 2.5.1
_CHOICES = {
    "baud": tuple(map(str, BAUDS)),
    "parity": PARITIES,
    "stop_bits": ("1", "2"),
    "data_bits": ("7", "8"),
}
_CHUNK = 4096


@dataclass(frozen=True)
class SerialSettings:
    """A device file and how its characters look."""

    scheme: str
    path: str
    baud: int
    parity: str
    stop_bits: int
    data_bits: int

    @property
    def url(self) -> str:
        """The same for all that mean this."""
        look = f"baud={self.baud}&parity={self.parity}&stop_bits={self.stop_bits}"
        return f"{self.scheme}://{self.path}?{look}&data_bits={self.data_bits}"

    @property
    def byte_s(self) -> float:
        """The time of one character: start, data, parity and stop bits. [s]"""
        return (1 + self.data_bits + (self.parity != "N") + self.stop_bits) / self.baud

    @property
    def silence_s(self) -> float:
        """Between two frames. [s]"""
        return FAST_SILENCE_S if self.baud > FAST_BAUD else SILENT_CHARACTERS * self.byte_s


def settings_of(url: str) -> SerialSettings:
    """What `SCHEME:///dev/NAME?baud=9600&parity=N&stop_bits=1` means; what is left out is standard.

    Raises:
        ConfigError: it is no such address, or names what no port can do.
    """
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise _mistake(url, f"is not an address: {error}") from error
    path = posixpath.normpath(parts.path)
    path = f"/{path.lstrip('/')}" if path.startswith("/") else path
    if parts.netloc or parts.fragment or "%" in path or not _is_file(parts.path, path):
        raise _mistake(url, "is not the address of a serial line")
    is_ascii = parts.scheme == "modbus-ascii"
    given = _DEFAULTS | {"data_bits": "7" if is_ascii else "8"}
    seen: set[str] = set()
    for name, value in pairs:
        if name not in _CHOICES:
            raise _mistake(url, f"has {name!r}; a serial line has {', '.join(_CHOICES)}")
        if name in seen:
            raise _mistake(url, f"says {name!r} twice")
        if value not in _CHOICES[name]:
            raise _mistake(url, f"has {name} {value!r}; use one of: {', '.join(_CHOICES[name])}")
        seen.add(name)
        given[name] = value
    if not is_ascii and given["data_bits"] != "8":
        raise _mistake(url, "has 7 data bits; RTU needs all 8")
    return SerialSettings(
        parts.scheme,
        path,
        int(given["baud"]),
        given["parity"],
        int(given["stop_bits"]),
        int(given["data_bits"]),
    )


def _is_file(written: str, path: str) -> bool:
    is_plain = path.isascii() and path.isprintable() and " " not in path
    return is_plain and path.startswith("/") and path != "/" and not written.endswith("/")


def _mistake(url: str, what: str) -> ConfigError:
    scheme = url.partition(":")[0]
    example = f"{scheme}:///dev/ttyUSB0?baud=9600&parity=N&stop_bits=1"
    return ConfigError(f"{url!r} {what}.", f"Write it as {example!r}.")


class SerialExchange(Asking):
    """An open serial line; a late or wrong answer leaves it open."""

    def __init__(self, descriptor: int, settings: SerialSettings) -> None:
        super().__init__(settings.path)
        self._fd: int | None = descriptor
        self._byte_s, self._silence_s = settings.byte_s, settings.silence_s
        self._heard_s = self._loop.time()  # when the last byte was on the line
        self._quiet: asyncio.TimerHandle | None = None  # after an answer
        self._loop.add_reader(descriptor, self._read)

    @property
    def is_open(self) -> bool:
        """Whether a question may be asked."""
        return self._fd is not None

    async def close(self) -> None:
        """Give the port back."""
        self._fail(self._closed())
        self._drop()

    async def _ready(self, timeout_s: float) -> None:
        """Return when nothing has been on the line for as long as parts two frames."""
        end_s = self._loop.time() + timeout_s
        while True:
            self._read()  # what the kernel has and the loop has not seen
            if self._fd is None:
                raise self._closed()
            rest_s = self._heard_s + self._silence_s - self._loop.time()
            if rest_s <= 0:
                return
            if self._loop.time() > end_s:
                raise DeviceError(
                    f"{self.peer} was not silent for {self._silence_s:g} s within {timeout_s:g} s.",
                    "Look for a second master or a device that sends unasked on this line, and"
                    " check baud, parity, termination and wiring.",
                    code=BAD_REPLY,
                )
            await asyncio.sleep(rest_s)

    def _say(self, question: bytes) -> None:
        assert self._fd is not None
        self._stop_listening()
        try:
            sent = os.write(self._fd, question)
        except OSError as error:
            self._fail(self._closed(error))
            self._drop()
            return
        self._heard_s = self._loop.time() + len(question) * self._byte_s
        if sent != len(question):  # the rest would follow at any time
            self._fail(self._closed())
            self._drop()

    def _read(self) -> None:
        if self._fd is None:
            return
        why: OSError | None = None
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:  # pulled out; a pseudo-terminal whose other end is closed
            data, why = b"", error
        if not data:
            self._fail(self._closed(why))
            self._drop()
            return
        self._heard_s = max(self._heard_s, self._loop.time())
        waiting = self._waiting
        if waiting is None or waiting.done():
            return  # nobody asked: a rest of what was given up
        self._buffer += data
        if (answer := self._judge(self._check)) is not None:  # unless another byte follows too soon
            self._stop_listening()
            self._deadline_s = math.inf
            self._quiet = self._loop.call_later(self._silence_s, self._accept, answer)

    def _stop_listening(self) -> None:
        """What was an answer so far is none: more came, or another question is asked."""
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None

    def _give_up(self) -> None:
        """The port stays open; what still comes was asked by nobody and is passed over."""

    def _expire(self, timeout_s: float) -> None:
        self._fail(
            DeviceError(
                f"{self.peer} brought {len(self._buffer) or 'no'} bytes of an answer"
                f" within {timeout_s:g} s.",
                "Check that the device is on, its unit number, baud, parity, the two wires and"
                " 'timeout_s'.",
                code=TIMEOUT,
            )
        )

    def _drop(self) -> None:
        self._stop_timer()
        descriptor, self._fd = self._fd, None
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            _give_back(descriptor)

    def _closed(self, why: OSError | None = None) -> DeviceError:
        reason = f" ({why.strerror})" if why else ""
        return DeviceError(
            f"{self.peer} is gone{reason}.",
            "Check that the adapter is plugged in and that no other program uses it.",
            code=CLOSED,
        )


async def connect(settings: SerialSettings) -> SerialExchange:
    """An open line; the port is ours alone.

    Raises:
        DeviceError: `unreachable` (not there, not allowed, no serial port), `refused` (in use).
    """
    path = settings.path
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unopened(path, error) from error
    if not os.isatty(descriptor):
        os.close(descriptor)
        raise DeviceError(
            f"{path} is no serial port.",
            "Use one of 'ls -l /dev/serial/by-id', or /dev/ttyUSB0, /dev/ttyS0 ...",
            code=UNREACHABLE,
        )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.ioctl(descriptor, termios.TIOCEXCL)
        _make_raw(descriptor, settings)
    except (OSError, termios.error) as error:
        os.close(descriptor)  # and nothing else: the line may be another program's
        raise _unopened(path, error) from error
    return SerialExchange(descriptor, settings)


def _make_raw(descriptor: int, settings: SerialSettings) -> None:
    """Bytes as they are: no echo, no translation, no flow control, no signals, no modem lines."""
    speed = getattr(termios, f"B{settings.baud}")
    control = termios.CREAD | termios.CLOCAL  # without HUPCL: closing leaves DTR as it is
    control |= termios.CS8 if settings.data_bits == 8 else termios.CS7
    control |= {"N": 0, "E": termios.PARENB, "O": termios.PARENB | termios.PARODD}[settings.parity]
    control |= termios.CSTOPB if settings.stop_bits == 2 else 0
    # A byte with wrong parity is dropped: the frame is then short or its check differs.
    into = 0 if settings.parity == "N" else termios.INPCK | termios.IGNPAR
    characters = termios.tcgetattr(descriptor)[6]
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    wanted = [into, 0, control, 0, speed, speed, characters]
    termios.tcsetattr(descriptor, termios.TCSANOW, wanted)
    termios.tcflush(descriptor, termios.TCIOFLUSH)
    if termios.tcgetattr(descriptor)[4:6] != [speed, speed]:
        raise OSError(errno.EINVAL, f"it does not do {settings.baud} baud")


def _give_back(descriptor: int) -> None:
    try:
        termios.tcflush(descriptor, termios.TCIOFLUSH)  # closing would wait for what is not sent
        fcntl.ioctl(descriptor, termios.TIOCNXCL)
    except (OSError, termios.error):
        pass  # it was pulled out
    finally:
        os.close(descriptor)


def _unopened(path: str, error: Exception) -> DeviceError:
    number, said = error.args[:2]
    if number in {errno.EBUSY, errno.EWOULDBLOCK}:
        return DeviceError(
            f"{path} is used by another program.",
            "End it: 'fuser' names it. Two masters on one line mix their answers up.",
            code=REFUSED,
        )
    do = "Check the name with 'ls -l /dev/serial/by-id' and that the adapter is plugged in."
    if number == errno.EACCES:
        do = "Let the agent's user open it: add it to the group 'dialout'."
    return DeviceError(f"{path} cannot be opened: {said}.", do, code=UNREACHABLE)
