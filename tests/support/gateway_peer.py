"""thingsboard-gateway before the same machines, with a stub of what its server would say.

Its own ways: `tags` asks for one register range a value, as its documents show; `range` is its wide
address form, with as many registers in a request as it may ask for. Statistics and rate limits are
off; packing and queues are as it ships them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from support import peer_environment

PINS = Path(__file__).parents[1] / "bench" / "gateway_peer.txt"
TOPIC = "v1/gateway/telemetry"
_ASKED, _ANSWER = "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"
_LIMITS = {"maxPayloadSize": 65536, "maxInflightMessages": 100, "rateLimits": {"messages": "0:0,"},
           "gatewayRateLimits": {}}  # fmt: skip
_START = "from thingsboard_gateway.tb_gateway import daemon; daemon()"
_FIRST, _FLOATS = 6, 48  # of factory.c


def python() -> Path:
    """Its Python, or the caller is skipped."""
    return peer_environment.python(make=bool(os.environ.get(peer_environment.ASKED)), pins=PINS)


@contextmanager
def gateway(
    folder: Path, broker: int, ports: list[int], period_ms: int, style: str
) -> Iterator[int]:
    """The pid of a running gateway.

    Args:
        folder: its own.
        broker: the port of the broker that stands for its server.
        ports: of the machines.
        period_ms: how often each is read. [ms]
        style: `tags` or `range`.
    """
    found = python()
    folder.mkdir(parents=True)
    (folder / "tb_gateway.json").write_text(json.dumps(_settings(broker)), "utf-8")
    (folder / "logs.json").write_text(json.dumps(_logs()), "utf-8")
    machines = [_machine(i, port, period_ms, style) for i, port in enumerate(ports)]
    (folder / "modbus.json").write_text(json.dumps({"master": {"slaves": machines}}), "utf-8")
    own = {**peer_environment.clean(), "TB_GW_CONFIG_DIR": str(folder)}
    with _server(broker), (folder / "out.log").open("w") as log:
        process = subprocess.Popen(
            [found, "-c", _START], cwd=folder, env=own, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process.pid
        finally:
            process.kill()
            process.wait()


def telemetry(payload: bytes) -> list[tuple[int, int]]:
    """Of a message of the gateway: how many values each entry has, and when they were read."""
    found = []
    for entries in json.loads(payload).values():
        for entry in entries:
            values = entry.get("values", entry)
            found.append((len(values), int(values.get("stamp_ns", 0))))
    return found


@contextmanager
def _server(broker: int) -> Iterator[None]:
    """What its server says when it asks for the limits of its session."""

    def answer(client: Client, _data: Any, message: MQTTMessage) -> None:
        number = message.topic.removeprefix(_ASKED)
        client.publish(_ANSWER + number, json.dumps(_LIMITS), 1)

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = answer
    client.on_connect = lambda client, *_: client.subscribe(f"{_ASKED}+", 1)
    client.connect("127.0.0.1", broker)
    client.loop_start()
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


def _settings(broker: int) -> dict[str, Any]:
    return {
        "thingsboard": {
            "host": "127.0.0.1", "port": broker, "remoteShell": False, "qos": 1,
            "remoteConfiguration": False, "statistics": {"enable": False, "enableCustom": False},
            "deviceFiltering": {"enable": False, "filterFile": "list.json"},
            "maxPayloadSizeBytes": 8196, "minPackSendDelayMS": 50, "minPackSizeToSend": 500,
            "checkConnectorsConfigurationInSeconds": 60, "handleDeviceRenaming": True,
            "security": {"type": "accessToken", "accessToken": "bench"},
            "reportStrategy": {"type": "ON_RECEIVED"},
            "checkingDeviceActivity": {"checkDeviceInactivity": False},
            **dict.fromkeys(
                ("rateLimits", "dpRateLimits", "messagesRateLimits", "deviceMessagesRateLimits",
                 "deviceRateLimits", "deviceDpRateLimits"), "0:0,"),
        },
        "storage": {"type": "memory", "read_records_count": 100, "max_records_count": 100000},
        "grpc": {"enabled": False},
        "connectors": [{"type": "modbus", "name": "machines", "configuration": "modbus.json"}],
    }  # fmt: skip


def _logs() -> dict[str, Any]:
    names = ("service", "tb_connection", "storage", "extension", "connector", "converter")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"out": {"class": "logging.StreamHandler", "level": "WARNING"}},
        "loggers": {name: {"handlers": ["out"], "level": "ERROR"} for name in names},
        "root": {"level": "ERROR", "handlers": ["out"]},
    }


def _machine(number: int, port: int, period_ms: int, style: str) -> dict[str, Any]:
    rows = [_row("stamp_ns", "64uint", 0, 4), _row("energy_wh", "32uint", 4, 2)]
    if style == "tags":
        rows += [_row(f"p{k}_w", "32float", _FIRST + 2 * k, 2) for k in range(_FLOATS)]
    else:
        rows.append(_row("p${address}_w", "32float", f"{_FIRST}-{_FIRST + 2 * _FLOATS - 1}", 2))
        rows[-1]["maxRegistersPerRequest"] = 2 * _FLOATS
    return {
        "host": "127.0.0.1", "port": port, "type": "tcp", "method": "socket", "unitId": 1,
        "deviceName": f"machine-{number}", "deviceType": "default", "timeout": 5,
        "byteOrder": "BIG", "wordOrder": "BIG", "retries": 3, "retryOnEmpty": True,
        "retryOnInvalid": True, "pollPeriod": period_ms, "connectAttemptTimeMs": 5000,
        "connectAttemptCount": 5, "waitAfterFailedAttemptsMs": 300_000, "attributes": [],
        "timeseries": rows, "attributeUpdates": [], "rpc": [],
    }  # fmt: skip


def _row(tag: str, kind: str, address: int | str, count: int) -> dict[str, Any]:
    return {
        "tag": tag, "type": kind, "address": address, "objectsCount": count, "functionCode": 3,
    }  # fmt: skip
