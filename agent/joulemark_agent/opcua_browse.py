"""What variables an OPC UA server has: their places, types, units and ranges.

From the Objects folder down, along every reference that makes a hierarchy; the server's own
diagnostics are left out. A node is visited once, so a loop ends; depth, nodes, references, the
length of names and the time are bounded, and places the server keeps for us (continuation points)
are given back. A node whose identifier is longer than a profile takes is left out.
Source: OPC UA specification (1.05), part 4, section 5.9 (View); part 8, section 5.6 (Range,
EUInformation: the unit's number is its UN/CEFACT code as bytes).
"""

from __future__ import annotations

import struct
import uuid
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import TypeVar

from joulemark_agent import opcua_session
from joulemark_agent.contract.profile import NodeType
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels import datavalue
from joulemark_agent.opcua_access import Access
from joulemark_agent.opcua_binary import Cursor, MalformedError
from joulemark_agent.opcua_channel import standard_id
from joulemark_agent.opcua_proposal import Found, Leaf, proposals
from joulemark_agent.opcua_session import DATA_TYPE, Session
from joulemark_agent.opcua_subscription import numeric

TEMPLATES = ("opcua_compressed_air",)  # companion models we have points for

# Numbers of the messages' binary encodings: part 6, annex A (NodeIds.csv).
BROWSE, BROWSE_NEXT = 527, 533
RANGE, EU_INFORMATION = 886, 889
OBJECTS, SERVER = b"\x00\x55", b"\x01\x00\xcd\x08"  # NodeIds i=85 and i=2253
_STANDARD = "http://opcfoundation.org/UA/"
_HIERARCHY = b"\x00\x21"  # i=33, with its subtypes
_OBJECTS_AND_VARIABLES, _VARIABLE = 3, 2
_NAME_AND_CLASS = 0x08 | 0x04  # what is told of a reference's other end
_AT_ONCE = 16  # nodes of a Browse, and
_READ_AT_ONCE = 200  # variables of a Read
_LONGEST_NAME, _LONGEST_NODE = 200, 512  # characters of a browse name; of a node in a profile
_PROPERTIES = ("EngineeringUnits", "EURange")
_TYPES: dict[int, NodeType] = {number: name for name, (number, _) in datavalue.NUMBERS.items()}  # type: ignore[misc]
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """How far is looked."""

    depth: int = 16
    nodes: int = 50_000
    references: int = 5_000  # of one node
    seconds: float = 300.0


@dataclass
class Tree:
    """What was found."""

    leaves: list[Leaf] = field(default_factory=list)
    nodes: int = 0
    refused: int = 0  # nodes the server does not let look into
    is_whole: bool = True  # False: a limit was reached


@dataclass(frozen=True)
class _Reference:
    node: bytes  # NodeId, in its bytes
    space: int
    name: str
    is_variable: bool


@dataclass(frozen=True)
class _Node:
    node: bytes
    path: tuple[str, ...]
    space: int = 0
    is_variable: bool = False


async def scan(url: str, *, timeout_s: float, security: Access | None = None) -> list[Found]:
    """A profile for each machine that is recognised, and one for the server's other variables.

    Raises:
        DeviceError: the server cannot be asked.
    """
    session = await opcua_session.open_session(url, timeout_s=timeout_s, security=security)
    try:
        tree = await browse(session, timeout_s=timeout_s)
    finally:
        await session.close()
    templates = [load_profile(name)[0] for name in TEMPLATES]
    return proposals(tree.leaves, url, templates, is_whole=tree.is_whole)


async def browse(session: Session, *, timeout_s: float, limits: Limits | None = None) -> Tree:
    """The variables below the Objects folder that hold one number each.

    Args:
        session: an open one.
        timeout_s: for each answer. [s]
        limits: how far to look.

    Raises:
        DeviceError: the server cannot be asked.
    """
    bounds, tree = limits or Limits(), Tree()
    until_s = monotonic() + bounds.seconds
    seen, waiting = {OBJECTS, SERVER}, [_Node(OBJECTS, ())]
    variables: list[_Node] = []
    about: dict[bytes, dict[str, bytes]] = {}  # of a variable: its properties by name
    for _ in range(bounds.depth):
        below: list[_Node] = []
        for parents in _parts(waiting, _AT_ONCE):
            if len(seen) > bounds.nodes or monotonic() >= until_s:
                tree.is_whole = False
                break
            nodes = [parent.node for parent in parents]
            answers = await _browse(session, nodes, timeout_s, bounds, until_s)
            for parent, found in zip(parents, answers, strict=True):
                tree.refused += found is None
                tree.is_whole &= len(found or ()) <= bounds.references
                below += _below(parent, (found or [])[: bounds.references], seen, about)
        variables += [node for node in below if node.is_variable]
        waiting = below
    tree.nodes = len(seen) - 2  # where it began, and what was left out
    tree.is_whole &= not waiting
    tree.leaves = await _leaves(session, variables, about, timeout_s, until_s)
    tree.is_whole &= monotonic() < until_s
    return tree


def _below(
    parent: _Node,
    references: Sequence[_Reference],
    seen: set[bytes],
    about: dict[bytes, dict[str, bytes]],
) -> Iterator[_Node]:
    """The nodes that were not seen before; a variable's properties go to what is known about it."""
    for found in references:
        if parent.is_variable and found.space == 0:
            if found.name in _PROPERTIES:
                about.setdefault(parent.node, {})[found.name] = found.node
        elif found.node not in seen:
            seen.add(found.node)
            path = (*parent.path, found.name)
            yield _Node(found.node, path, found.space, found.is_variable)


async def _browse(
    session: Session, nodes: Sequence[bytes], timeout_s: float, bounds: Limits, until_s: float
) -> list[list[_Reference] | None]:
    """What each node refers to; None: the server refuses to tell."""
    each = struct.pack("<i", 0) + _HIERARCHY + b"\x01"
    each += struct.pack("<II", _OBJECTS_AND_VARIABLES, _NAME_AND_CLASS)
    want = b"\0\0" + bytes(12)  # no view
    want += struct.pack("<Ii", bounds.references, len(nodes)) + b"".join(n + each for n in nodes)
    channel = session.channel
    answers = await channel.ask(BROWSE, want, partial(_results, len(nodes)), timeout_s)
    places = [(i, place) for i, (_, place) in enumerate(answers) if place is not None]
    found = [references for references, _ in answers]
    while places and monotonic() < until_s:
        kept = [(i, p) for i, p in places if len(found[i] or ()) <= bounds.references]
        released = [(i, p) for i, p in places if len(found[i] or ()) > bounds.references]
        places = []
        for group, release in ((released, True), (kept, False)):
            if not group:
                continue
            want = struct.pack("<?i", release, len(group))
            want += b"".join(struct.pack("<i", len(place)) + place for _, place in group)
            wanted = partial(_results, len(group))
            answers = await channel.ask(BROWSE_NEXT, want, wanted, timeout_s)
            if release:
                continue
            for (i, _), (more, place) in zip(group, answers, strict=True):
                found[i] = (found[i] or []) + (more or [])
                if place is not None and more:
                    places.append((i, place))
    return found


def _results(wanted: int, cursor: Cursor) -> list[tuple[list[_Reference] | None, bytes | None]]:
    """By node: its references, None where there are none to be had; and the place to go on from."""
    found = []
    for _ in cursor.elements():
        status, place = cursor.u32(), cursor.blob()
        references = [_reference(cursor) for _ in cursor.elements()]
        local = [reference for reference in references if reference is not None]
        found.append((None if datavalue.is_bad(status) else local, place or None))
    for _ in cursor.elements():
        cursor.skip_diagnostic()
    if len(found) != wanted:
        raise MalformedError(f"{len(found)} nodes where {wanted} were due")
    return found


def _reference(cursor: Cursor) -> _Reference | None:
    """The next ReferenceDescription; None: it leads to another server, or cannot be written."""
    cursor.node_id()
    cursor.take(1)  # forward
    node = cursor.node_id()
    space, name = int.from_bytes(cursor.take(2), "little"), cursor.text()[:_LONGEST_NAME]
    cursor.skip_localized()
    kind = cursor.u32()
    cursor.node_id()
    if node[0] & 0xC0 or len(node) > _LONGEST_NODE:
        return None
    return _Reference(_canonical(node), space, name, kind == _VARIABLE)


def _canonical(node: bytes) -> bytes:
    """The shortest form of a NodeId, so that one node is one key."""
    if node[0] == 2:
        space, number = struct.unpack("<HI", node[1:7])
        if space == 0 and number < 256:
            return bytes([0, number])
        if space < 256 and number < 0x10000:
            return struct.pack("<BBH", 1, space, number)
    if node[0] == 1 and node[1] == 0 and node[3] == 0:
        return bytes([0, node[2]])
    return node


async def _leaves(
    session: Session,
    variables: Sequence[_Node],
    about: dict[bytes, dict[str, bytes]],
    timeout_s: float,
    until_s: float,
) -> list[Leaf]:
    """Those of the variables that hold one number, with what the server says of them."""
    uris = {index: uri for uri, index in session.namespaces.items()}
    leaves: list[Leaf] = []
    for part in _parts(variables, _READ_AT_ONCE):
        if monotonic() >= until_s:
            break
        values = await session.read([node.node for node in part], timeout_s)
        empty = [node.node for node, v in zip(part, values, strict=True) if _is_empty(v.data)]
        types = dict[bytes, NodeType | None]()
        if empty:
            declared = await session.read(empty, timeout_s, attribute=DATA_TYPE)
            types = {n: _declared(v.data) for n, v in zip(empty, declared, strict=True)}
        for node, value in zip(part, values, strict=True):
            kind = _type(value.data) or types.get(node.node)
            name = _name(node.node, uris)
            if kind is not None and name is not None:
                uri = uris.get(node.space, "")
                leaves.append(Leaf(name, node.path, uri, kind, numeric(value)))
    places = {_name(node.node, uris): node.node for node in variables}
    return await _with_properties(
        session, leaves, places, about, timeout_s=timeout_s, until_s=until_s
    )


async def _with_properties(
    session: Session,
    leaves: Sequence[Leaf],
    places: dict[str | None, bytes],
    about: dict[bytes, dict[str, bytes]],
    *,
    timeout_s: float,
    until_s: float,
) -> list[Leaf]:
    wanted = [
        (i, name, about[places[leaf.node]][name])
        for i, leaf in enumerate(leaves)
        for name in _PROPERTIES
        if name in about.get(places[leaf.node], ())
    ]
    found = list(leaves)
    for part in _parts(wanted, _READ_AT_ONCE):
        if monotonic() >= until_s:
            break
        values = await session.read([node for _, _, node in part], timeout_s)
        for (i, name, _), value in zip(part, values, strict=True):
            if name == "EURange":
                found[i] = replace(found[i], span=_span(value.data))
            else:
                unit, symbol = _unit(value.data)
                found[i] = replace(found[i], unit=unit, symbol=symbol)
    return found


def _type(data: bytes) -> NodeType | None:
    """The type of the number that a DataValue holds."""
    value = datavalue.parse(data)
    return None if value is None or value.type is None else value.type  # type: ignore[return-value]


def _is_empty(data: bytes) -> bool:
    """Whether there is no value, so that only the declared type can tell what it would be."""
    value = datavalue.parse(data)
    return value is not None and value.type is None


def _declared(data: bytes) -> NodeType | None:
    """The type that the DataType attribute names, where it is a plain number's."""
    try:
        is_node_id = data[0] & 1 and data[1] == 17
        return _TYPES.get(standard_id(Cursor(data, 2).node_id()) or 0) if is_node_id else None
    except (MalformedError, IndexError):
        return None


def _structure(data: bytes, kind: int) -> Cursor | None:
    """The body of the ExtensionObject that a DataValue holds."""
    cursor = Cursor(data, 1)
    try:
        if not data[0] & 1 or cursor.u8() != 22 or standard_id(cursor.node_id()) != kind:
            return None
        body = cursor.blob() if cursor.u8() == 1 else None
    except (MalformedError, IndexError):
        return None
    return None if body is None else Cursor(body)


def _unit(data: bytes) -> tuple[str, str]:
    """UN/CEFACT code and symbol of an EUInformation; empty where it says none."""
    if (cursor := _structure(data, EU_INFORMATION)) is None:
        return "", ""
    try:
        cursor.blob()
        code = cursor.take(4)[::-1].strip(b"\0")
        mask = cursor.u8()
        if mask & 1:
            cursor.blob()
        symbol = cursor.text() if mask & 2 else ""
    except MalformedError:
        return "", ""
    printable = "".join(c for c in symbol[:20] if c.isprintable() and c not in "\"'\\#")
    return (code.decode() if code.isalnum() else ""), printable


def _span(data: bytes) -> tuple[float, float] | None:
    cursor = _structure(data, RANGE)
    try:
        return None if cursor is None else struct.unpack("<dd", cursor.take(16))
    except MalformedError:
        return None


def _name(node: bytes, uris: dict[int, str]) -> str | None:
    """A NodeId as profiles write it; None: its namespace has no name, or it cannot be written."""
    kind = node[0]
    if kind < 2:
        node = b"\x02" + (struct.pack("<HI", 0, node[1]) if kind == 0 else
                          struct.pack("<HI", node[1], *struct.unpack("<H", node[2:])))  # fmt: skip
    space = int.from_bytes(node[1:3], "little")
    uri = _STANDARD if space == 0 else uris.get(space, "")
    if not uri or ";" in uri:
        return None
    identifier = _identifier(node[0], node[3:])
    name = f"nsu={uri};{identifier}"
    return name if identifier and name.isprintable() and len(name) <= _LONGEST_NODE else None


def _identifier(form: int, body: bytes) -> str | None:
    if form == 2:
        return f"i={int.from_bytes(body, 'little')}"
    if form == 4:
        return f"g={uuid.UUID(bytes_le=body)}"
    if not (told := body[4:]):
        return None
    if form == 5:
        return f"b={b64encode(told).decode()}"
    try:
        return f"s={told.decode()}"
    except UnicodeDecodeError:
        return None


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]
