"""What an alert says, in Korean and English. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Language = Literal["en", "ko"]
_UTC_0 = datetime(1970, 1, 1, tzinfo=UTC)

_WHAT: Mapping[str, tuple[str, str]] = {
    "peak_demand": (
        (
            "The demand of {subject} goes to {forecast_kw} kW (± {u_kw} kW); the limit is "
            "{limit_kw} kW (interval from {interval})."
        ),
        (
            "{subject}의 수요전력이 {forecast_kw} kW(± {u_kw} kW)로 예측되어 한도 {limit_kw} kW를 "
            "초과합니다(구간 시작 {interval})."
        ),
    ),
    "agent_silent": (
        "The agent {subject} has not been heard of for more than {minutes} minutes.",
        "에이전트 {subject}의 신호가 {minutes}분 넘게 없습니다.",
    ),
    "backlog": (
        "{records} records of the agent {subject} are on their way; the limit is {limit}.",
        "에이전트 {subject}의 미전송 기록이 {records}건으로 한도 {limit}건을 넘었습니다.",
    ),
    "clock": (
        "The clock of the agent {subject} is not in time ({sync}, {offset_s} s from ours).",
        "에이전트 {subject}의 시계가 맞지 않습니다({sync}, 수집기와 {offset_s}초 차이).",
    ),
    "certificate": (
        "The certificate of the agent {subject} ends in {days} days.",
        "에이전트 {subject}의 인증서가 {days}일 후 만료됩니다.",
    ),
    "coverage": (
        "Of the last day's values of {subject} {percent} % are good; at least {limit} % should be.",
        "지난 하루 {subject} 값의 {percent} %만 정상입니다(기준 {limit} %).",
    ),
    "evidence": (
        "Messages of {subject} were refused: {finding}, {messages} in all.",
        "{subject}의 메시지가 거부되었습니다: {finding}, 총 {messages}건.",
    ),
    "disk": (
        "The disk of {subject} is {percent} % full (gives way: {level}).",
        "{subject}의 디스크가 {percent} % 찼습니다(단계: {level}).",
    ),
    "saving": (
        "The saving of {subject} is refused: {why}",
        "{subject}의 절감량이 인정되지 않습니다: {why}",
    ),
    "figure": (
        "{subject} is {value}, {side} the limit of {limit}.",
        "{subject} 값이 {value}(으)로 한도 {limit}을(를) 벗어났습니다({side}).",
    ),
}
KINDS: Mapping[str, tuple[str, str]] = {
    "raised": ("New", "발생"),
    "again": ("Again", "재발생"),
    "resolved": ("Over", "해소"),
    "escalated": ("Not acknowledged", "미확인"),
    "digest": ("Many alerts", "경보 다수"),
}


def what_of(code: str, values: Mapping[str, str], language: Language) -> str:
    """The sentence of an alert; its code and values where it has none."""
    known: dict[str, Any] = dict(values)
    if "interval_us" in known:
        at = _UTC_0 + timedelta(microseconds=int(known["interval_us"]))
        known["interval"] = f"{at:%Y-%m-%d %H:%M} UTC"
    try:
        return _WHAT[code][_index(language)].format_map(known)
    except (KeyError, ValueError):
        return f"{code} {dict(values)}"


def kind_of(kind: str, language: Language) -> str:
    """What became of it."""
    return KINDS[kind][_index(language)]


def _index(language: Language) -> int:
    return ("en", "ko").index(language)
