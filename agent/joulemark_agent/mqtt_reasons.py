"""What an MQTT 5 broker means by a reason code, and what a person can do about it.

Source: MQTT Version 5.0, OASIS Standard 2019-03-07, section 2.4 and the tables of CONNACK (3.2),
PUBACK (3.4), SUBACK (3.9) and DISCONNECT (3.14).
"""

from __future__ import annotations

FIRST_FAILURE = 0x80
NO_SUBSCRIBERS = 0x10

_ACCESS = "Correct the broker's access list: the agent may publish on joulemark/v1/up/AGENT/# and"
_ACCESS += " read joulemark/v1/down/AGENT/#."
_LOGIN = "Set 'uplink.username' and JOULEMARK_UPLINK__PASSWORD to what the broker knows."
_LOG = "Look into the broker's log."
_VERSION = "Use a broker that speaks MQTT 5."
_LATER = "Nothing is to be done if it comes back soon; else look after the broker's machine."
_LIMIT = "Raise the broker's limits"
_LARGE = f"{_LIMIT} (mosquitto: message_size_limit, max_packet_size) to 1 MiB and more."
_REPORT = "Look into the broker's log; if it is not the broker's mistake, report it as ours."
_SEVERAL = "Find the second program that connects as this agent: two of them would fork evidence."
_BELONGS = "Change 'uplink.url' to the server that the broker's administrator names."
_REASONS = {
    NO_SUBSCRIBERS: (
        "no collector is listening",
        "Start the collector, or check that it uses this broker.",
    ),
    0x80: ("unspecified error", _LOG),
    0x81: ("malformed packet", _REPORT),
    0x82: ("protocol error", _REPORT),
    0x83: ("the broker does not take this message", f"{_LARGE} {_LOG}"),
    0x84: ("this version of MQTT is not spoken", _VERSION),
    0x85: ("the client id is refused", "Allow the agent's id as a client id at the broker."),
    0x86: ("bad user name or password", _LOGIN),
    0x87: ("not authorized", _ACCESS),
    0x88: ("the server is unavailable", _LATER),
    0x89: ("the server is busy", _LATER),
    0x8A: ("banned", "Ask the broker's administrator why this agent is banned."),
    0x8B: ("the server is shutting down", _LATER),
    0x8C: ("bad authentication method", _LOGIN),
    0x8D: ("keep-alive time-out", "Check the line to the broker: it lost what the agent sent."),
    0x8E: ("another client connected with this id", _SEVERAL),
    0x8F: ("the topic filter is invalid", _REPORT),
    0x90: ("the topic name is invalid", _REPORT),
    0x91: ("the packet identifier is in use", _REPORT),
    0x92: ("the packet identifier is not found", _REPORT),
    0x93: ("more was sent than the broker takes at once", f"{_LIMIT} (receive maximum) to 20."),
    0x94: ("the topic alias is invalid", _REPORT),
    0x95: ("the packet is too large", _LARGE),
    0x96: ("messages came too fast", f"{_LIMIT} of messages per second."),
    0x97: ("a quota is exceeded", f"{_LIMIT} or free what it keeps for clients that are away."),
    0x98: ("an administrator ended the connection", "Ask the broker's administrator why."),
    0x99: ("the payload's format is invalid", _REPORT),
    0x9A: ("retained messages are not supported", _REPORT),
    0x9B: ("this quality of service is not supported", "Use a broker that takes QoS 1."),
    0x9C: ("another server is to be used", _BELONGS),
    0x9D: ("the server has moved", _BELONGS),
    0x9E: ("shared subscriptions are not supported", _REPORT),
    0x9F: ("connections came too fast", f"{_LIMIT} of connections per second."),
    0xA0: ("the longest time of a connection is over", "Nothing: it is opened again."),
    0xA1: ("subscription identifiers are not supported", _REPORT),
    0xA2: ("wildcards in subscriptions are not supported", "Use a broker that takes '+' in them."),
}


def is_alarm(code: int) -> bool:
    """Whether a code means that a message or connection did not get through."""
    return code >= FIRST_FAILURE or code == NO_SUBSCRIBERS


def meaning(code: int) -> str:
    """What the code says, with its number."""
    known = _REASONS.get(code)
    return f"{known[0]} (0x{code:02X})" if known else f"reason 0x{code:02X}"


def what_to_do(code: int) -> str:
    """What a person can do about it."""
    known = _REASONS.get(code)
    return known[1] if known else _LOG
