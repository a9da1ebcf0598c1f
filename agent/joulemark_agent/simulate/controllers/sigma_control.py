"""A Sigma Control 2 as its own web pages see it: challenge, one session to a user, questions.

How long it refuses a user, and when it ends a session, no source says: both are settings here.
Source: as `drivers/sigma_control.py`; the numbers of the objects are those of an ASD35.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

from joulemark_agent.simulate.controllers.compressor import Compressor, State
from joulemark_agent.simulate.controllers.web import Asked, Reply

MODEL = "ASD35"
_JSON = [("Content-Type", "application/json")]
_INFO, _LIGHTS, _OBJECTS, _LOGOUT = (1, 7), (1, 4), (1, 2), (8, 1)
_EXPIRED, _UNKNOWN = "5", "2"


class SigmaControl:
    """One controller with one user."""

    def __init__(
        self,
        compressor: Compressor,
        now_s: Callable[[], float],
        *,
        user: str,
        password: str,
        seed: int = 1,
        cooldown_s: float = 50.0,
        failures_to_lock: int = 3,
        units: tuple[str, str] = ("bar", "°C"),
    ) -> None:
        self._compressor, self._now_s = compressor, now_s
        self._user, self._cooldown_s, self._units = user, cooldown_s, units
        self._known_by = _sha256(f"{user}:user@sc2:{password}")
        self._chance = random.Random(seed)
        self._key = ""
        self._session: str | None = None
        self._refuses_until_s = float("-inf")
        self._failures_to_lock = failures_to_lock
        self.failures = 0  # of login
        self.logins = 0  # that succeeded

    @property
    def is_locked(self) -> bool:
        """Whether the user got the password wrong too often."""
        return self.failures >= self._failures_to_lock

    @property
    def has_session(self) -> bool:
        """Whether the user is logged in."""
        return self._session is not None

    def expire(self) -> None:
        """Forget the session, as after a while of its own."""
        self._session = None

    def log_in_elsewhere(self) -> None:
        """The user logs in with a browser."""
        self._session = "browser"

    def respond(self, asked: Asked) -> Reply:
        """The reply to one request."""
        if (asked.method, asked.target) == ("GET", "/login.html"):
            return self._login(asked)
        if (asked.method, asked.target) == ("POST", "/json.json"):
            return self._question(asked)
        return Reply(b"<html>no such page</html>", 404)

    def _login(self, asked: Asked) -> Reply:
        number = "0"
        if "session-auth" in asked.fields:
            number = self._opened(asked)
        else:
            self._key = f"{self._chance.getrandbits(128):032x}"
        cookies = [("Session-Id", number), ("Session-Key", self._key)]
        fields = [("Set-Cookie", f"{name}={value}; Path=/") for name, value in cookies]
        return Reply(b"<html>login</html>", fields=[("Content-Type", "text/html"), *fields])

    def _opened(self, asked: Asked) -> str:
        if self._session is not None or self._now_s() < self._refuses_until_s:
            self._refuses_until_s = self._now_s() + self._cooldown_s
            return "-1"
        is_right = asked.fields.get("username") == self._user and asked.fields[
            "session-auth"
        ] == _sha256(f"{self._known_by}:{self._key}")
        if not is_right or self.is_locked:
            self.failures += 1
            return "0"
        self.logins += 1
        self._session = str(self._chance.randrange(1000, 10_000))
        return self._session

    def _question(self, asked: Asked) -> Reply:
        try:
            question = json.loads(asked.body)
            service = question["0"], question["1"]
        except (ValueError, LookupError):
            return _reply(0, 0, "Incorrect JSON format received.", {})
        cookie = asked.fields.get("cookie", "")
        is_known = f"Session-Id={self._session};" in cookie and asked.fields.get(
            "session-auth"
        ) == _sha256(f"{self._known_by}:{self._key}")
        if not is_known:
            return _reply(*service, _EXPIRED, {})
        state = self._compressor.at(self._now_s())
        if service == _INFO:
            return _reply(*service, "0", {"PN": "101618.0", "SN": "1234", "CompType": MODEL})
        if service == _LIGHTS:
            return _reply(*service, "0", _lamps(state))
        if service == _OBJECTS:
            objects = self._objects(state)
            found = [objects[number] for number in question["2"]["0"] if number in objects]
            return _reply(*service, "0", {str(i): element for i, element in enumerate(found)})
        if service == _LOGOUT:
            self._session = None
            return _reply(*service, "0", {})
        return _reply(*service, _UNKNOWN, {})

    def _objects(self, state: State) -> dict[int, dict[str, Any]]:
        pressure, temperature = self._units
        bar = state.pressure_pa / 100_000
        shown = f"{bar:.1f}" if pressure == "bar" else f"{bar * 14.503774:.1f}"
        objects = [
            _object(3231568, 8, shown, pressure),
            _object(3233600, 9, f"{state.outlet_dk / 10:.1f}", temperature),
            _object(3236248, 9, f"{state.ambient_dk / 10:.1f}", temperature),
            _object(3261336, 7, f"{state.running_s // 3600} h", ""),
            _object(3261648, 7, f"{state.loaded_s // 3600} h", ""),
            _object(3261960, 7, f"{state.running_s // 3600} h", ""),
            _object(3270584, 7, f"{state.energy_wh // 1000} kWh", ""),
        ]
        return {element["Id"]: element for element in objects}


def _object(number: int, kind: int, value: str, unit: str) -> dict[str, Any]:
    return {"Id": number, "Type": kind, "Value": value, **({"Unit": unit} if unit else {})}


def _lamps(state: State) -> dict[str, dict[str, int]]:
    on = {"led_power_on", "led_voltage", "led_load" if state.is_loaded else "led_idle"}
    names = ("led_error", "led_maintenance", "led_voltage", "led_load", "led_idle", "led_power_on")
    return {name: {"State": int(name in on), "Colour": 3} for name in names}


def _reply(app: Any, service: Any, code: str, said: Any) -> Reply:
    text = json.dumps({"0": app, "1": service, "2": code, "3": said}, ensure_ascii=False)
    return Reply(text.encode(), fields=_JSON)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
