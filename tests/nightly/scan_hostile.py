"""A scan of devices that answer anything: it ends, stays bounded, and shows what it was told only.

Every answer of a device may be right, or random bytes in a right frame, an exception, a cut frame,
another unit's, silence or a closed connection; SunSpec maps and identifications are random too. A
meter that answers rightly stands among them and must be recognised in every round.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
from datetime import date

from joulemark_agent import scan_report
from joulemark_agent.contract.document import parse_yaml
from joulemark_agent.documents import checked_profile
from joulemark_agent.scan import Scan, scan
from joulemark_agent.scan_profile import sunspec_profile
from support.tcp import serving
from support.units import IDENTIFY, Device, common_model, inverter_model, sunspec_map

UNITS = (1, 2, 3)
HONEST = 2
MOST_QUESTIONS = 700  # of a round
METER = Device(
    holding=dict.fromkeys(range(60), 0)
    | dict(enumerate(struct.unpack(">16H", b"LSELECTRIC".ljust(32, b"\0"))))
    | dict(enumerate(struct.unpack(">16H", b"GIMAC1000".ljust(32, b"\0")), 37)),
    input=dict.fromkeys(range(60), 0x4270),
)


def run(seed: int, *, full: bool) -> dict[str, str]:
    """400 rounds of three units each, or 8."""
    return asyncio.run(_run(random.Random(seed), 400 if full else 8))


async def _run(draw: random.Random, rounds: int) -> dict[str, str]:
    questions, made, answered = [], 0, 0
    for _ in range(rounds):
        result = await _round(draw)
        questions.append(result.questions)
        assert result.questions <= MOST_QUESTIONS, result.questions
        text = scan_report.as_text(result, 0.0, {})
        assert all(line.isprintable() and len(line) <= 80 for line in text.splitlines()), text
        json.dumps(scan_report.as_mapping(result, 0.0, {}))
        answered += len(result.found)
        honest = [found for found in result.found if found.unit == HONEST]
        if not result.stopped:
            assert [m.profile for m in honest[0].matches][:1] == ["ls_gimac1000"], text
        for found in result.found:
            proposed = sunspec_profile(
                found.models, found.common, found.responses, date(2026, 11, 22)
            )
            if proposed is not None:
                checked_profile(parse_yaml(proposed.text, "made.yaml"))
                made += 1
    return {
        "rounds": str(rounds),
        "units that answered": str(answered),
        "questions of a round, at most": str(max(questions)),
        "profiles made of random SunSpec maps, each of which the check takes": str(made),
        "rounds in which the honest meter among them was not recognised": "0",
    }


async def _round(draw: random.Random) -> Scan:
    devices = {unit: METER if unit == HONEST else _device(draw) for unit in UNITS}
    moods = {unit: draw.random() ** 3 for unit in UNITS if unit != HONEST}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
            pdu = await reader.readexactly(length - 1)
            right = devices[unit].answer(pdu)
            is_moody = draw.random() < moods.get(unit, 0.0)
            said = _anything(draw, pdu, right) if is_moody else right
            if said is None:
                writer.close()
                return
            if said:
                writer.write(struct.pack(">HHHB", transaction, 0, 1 + len(said), unit) + said)

    async with serving(serve) as port:
        result = Scan(f"modbus-tcp://127.0.0.1:{port}", UNITS)
        await scan(result, timeout_s=0.02, progress=lambda _: None, pause_s=0.0)
    return result


def _device(draw: random.Random) -> Device:
    """With a map that may be one, and an identification that may be text."""
    model = draw.choice([101, 103, 113, 160, 203, 701, 705, 714, draw.randrange(0x10000)])
    length = draw.choice([0, 20, 50, 52, 105, 153, draw.randrange(0x10000)])
    words = [model, length, *(draw.randrange(0x10000) for _ in range(min(length, 200)))]
    models = [common_model(_text(draw), _text(draw)), words]
    if draw.random() < 0.5:
        models.append(inverter_model({draw.randrange(2, 52): draw.randrange(0x10000)}))
    said = {i: draw.randbytes(draw.randrange(40)) for i in draw.sample(range(256), 5)}
    return Device(
        holding=sunspec_map(*models) if draw.random() < 0.7 else dict.fromkeys(range(0x10000), 7),
        input={i: draw.randrange(0x10000) for i in range(200)},
        says=said if draw.random() < 0.7 else None,
        most=draw.choice([2, 30, 250]),
    )


def _text(draw: random.Random) -> str:
    return "".join(chr(draw.randrange(1, 127)) for _ in range(draw.randrange(30)))


def _anything(draw: random.Random, pdu: bytes, right: bytes) -> bytes | None:
    function = pdu[0]
    kind = draw.randrange(7)
    if kind == 0:
        return None  # closes
    if kind == 1:
        return b""  # is silent
    if kind == 2:
        return bytes((function | 0x80, draw.randrange(256)))
    if kind == 3:
        return right[: draw.randrange(len(right) + 1)]
    if kind == 4:
        return draw.randbytes(draw.randrange(1, 250))
    if function == IDENTIFY:
        return bytes((IDENTIFY, 0x0E, pdu[2])) + draw.randbytes(draw.randrange(1, 240))
    return right[:2] + draw.randbytes(len(right) - 2)
