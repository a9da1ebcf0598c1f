"""What single values of a site file may be: names, addresses, keys, times."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from joulemark_agent.contract.committed import is_interval
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.signature import decode64
from joulemark_agent.contract.topics import require_id
from joulemark_agent.documents import load_factors, load_profile, site_folder
from joulemark_agent.lines import is_host, line_of
from joulemark_agent.plan import plan_requests

PREFIX = "JOULEMARK_"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def mistake(text: str) -> PydanticCustomError:
    """What a person reads beside file and line."""
    return PydanticCustomError("site_file", "{text}", {"text": text})


def _located(check: Callable[[str], Any]) -> AfterValidator:
    """The check as a validator: its ConfigError becomes a mistake with file and line."""

    def checked(value: str) -> str:
        try:
            check(value)
        except ConfigError as error:  # of a file with mistakes only these: what to do is the same
            raise mistake(error.what.rstrip() if "\n" in error.what else str(error)) from error
        return value

    return AfterValidator(checked)


def _tcp_url(url: str) -> str:
    return _url(url, ("tcp",), "tcp://127.0.0.1:5021")


def _mqtt_url(url: str) -> str:
    return _url(url, ("mqtt", "mqtts"), "mqtt://192.0.2.10:1883")


def _url(url: str, schemes: tuple[str, ...], example: str) -> str:
    try:
        parts = urlsplit(url)
        is_plain = is_host(parts.hostname) and "@" not in url and not parts.path.strip("/")
        needs_port = parts.port is not None or parts.scheme == "tcp"
        is_whole = parts.scheme in schemes and (bool(parts.port) or not needs_port)
    except ValueError as error:
        raise mistake(f"not an address: {error}; write it as {example!r}") from error
    if not is_plain or not is_whole or parts.query or parts.fragment:
        raise mistake(f"not an address that can be used here; write it as {example!r}")
    return url


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # not a name, a folder, not found
        raise mistake("there is no such time zone; write one such as 'Asia/Seoul'") from error
    return name


def _folder(path: Path) -> Path:
    if not str(path).isprintable():
        raise mistake("the name of a folder has no control characters")
    return site_folder() / path


def _public_key(text: str) -> str:
    try:
        size = len(decode64(text))
    except EvidenceError as error:
        raise mistake(str(error)) from error
    if size != 32:
        raise mistake(f"an Ed25519 public key has 32 bytes, this has {size}")
    return text


def _fingerprint(text: str) -> str:
    digits = text.replace(":", "").replace(" ", "").lower()
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise mistake("a SHA-256 fingerprint has 64 digits of 0-9 and a-f, as browsers show it")
    return digits


def _key_name(text: str) -> str:
    if not text.isprintable() or not text or " " in text or "+" in text:
        raise mistake("the name of a key has no spaces and no '+'")
    return text


def _interval_s(interval_s: int) -> int:
    if not is_interval(interval_s):
        raise mistake("an interval is a whole part of a day, from 60 to 3600 s; write 900")
    return interval_s


def _sparkplug_name(name: str) -> str:
    if name != name.strip() or not re.fullmatch(r"[A-Za-z0-9_. -]{1,100}", name) or name == "STATE":
        raise mistake(
            f"{name[:40]!r} is no name for Sparkplug: write 1 to 100 of A-Z a-z 0-9 _ . - and inner"
            " spaces; 'STATE' is taken by the hosts"
        )
    return name


Id = Annotated[str, _located(lambda text: require_id(text, "site, agent or device"))]
ProfileName = Annotated[str, _located(lambda name: plan_requests(load_profile(name)[0]))]
FactorsName = Annotated[str, _located(load_factors)]
LineUrl = Annotated[str, _located(line_of)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
TcpUrl = Annotated[str, AfterValidator(_tcp_url)]
MqttUrl = Annotated[str, AfterValidator(_mqtt_url)]
PublicKey = Annotated[str, AfterValidator(_public_key)]
KeyName = Annotated[str, AfterValidator(_key_name)]
Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
IntervalS = Annotated[int, AfterValidator(_interval_s)]
Variable = Annotated[str, Field(pattern=f"^{PREFIX}[A-Z0-9_]+$")]  # of the environment
Folder = Annotated[Path, AfterValidator(_folder)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Milliseconds = Annotated[int, Field(ge=0, le=60_000)]
SparkplugName = Annotated[str, AfterValidator(_sparkplug_name)]


def us_of(instant: datetime) -> int:
    """The instant as slots are counted. [us UTC]"""
    return (instant - _EPOCH) // timedelta(microseconds=1)
