"""The binary encoding of OPC UA, as far as reading a variable takes it, from servers not to trust.

A cursor steps over any DataValue without building what it holds: an array that claims 2^31 elements
costs nothing but its refusal. Depth, elements and bytes are bounded.
Source: OPC UA specification part 6 (1.05), sections 5.2.2 (built-in types) and 5.1.5 to 5.1.8.
"""

from __future__ import annotations

import base64
import struct
import uuid
from typing import Any, NamedTuple

from joulemark_agent.kernels.datavalue import FIELDS, shape_at

NULL = b"\xff\xff\xff\xff"  # length of a string, byte string or array that is not there
MAX_DEPTH = 8  # of values in values
MAX_ELEMENTS = 25_000  # of arrays whose elements have lengths of their own, in one message

_U8, _U16 = struct.Struct("<B"), struct.Struct("<H")
_U32, _I32 = struct.Struct("<I"), struct.Struct("<i")
# Bytes of the built-in types that have a fixed number, by type; 0 is the null Variant.
_SIZES = {
    0: 0, 1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 4, 11: 8, 13: 8, 14: 16, 19: 4
}  # fmt: skip
_NODE_ID, _EXPANDED, _QUALIFIED, _LOCALIZED, _EXTENSION = 17, 18, 20, 21, 22
_DATA_VALUE, _VARIANT, _DIAGNOSTIC = 23, 24, 25
_ARRAY, _DIMENSIONS, _TYPE = 0x80, 0x40, 0x3F
_HAS_VALUE, _RESERVED = 1, 0xC0


class MalformedError(ValueError):
    """The bytes are not what they should be."""


class Variable(NamedTuple):
    """A DataValue in the bytes that were received."""

    data: bytes
    value_end: int  # where its Variant ends; 1: it has none
    is_number: bool  # it is one number, or says why it has none

    @property
    def without_value(self) -> bytes:
        """The same without its Variant."""
        return bytes([self.data[0] & ~_HAS_VALUE]) + self.data[self.value_end :]


class Cursor:
    """Reads forward; raises `MalformedError` rather than past the end."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at = data, at
        self._elements = MAX_ELEMENTS

    def take(self, size: int) -> bytes:
        """The next bytes."""
        end = self.at + size
        if size < 0 or end > len(self._data):
            raise MalformedError(f"{size} bytes at {self.at} of {len(self._data)}")
        found, self.at = self._data[self.at : end], end
        return found

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self.at)

    def number(self, form: struct.Struct) -> Any:
        """The next number."""
        return form.unpack(self.take(form.size))[0]

    def u8(self) -> int:
        """The next Byte."""
        return int(self.number(_U8))

    def u32(self) -> int:
        """The next UInt32."""
        return int.from_bytes(self.take(4), "little")

    def blob(self) -> bytes | None:
        """The next ByteString."""
        size = int(self.number(_I32))
        return None if size == -1 else self.take(size)

    def text(self) -> str:
        """The next String; a null one is empty."""
        try:
            return (self.blob() or b"").decode()
        except UnicodeDecodeError as error:
            raise MalformedError("a string is not UTF-8") from error

    def count(self) -> int:
        """The length of the array that begins here."""
        count = int(self.number(_I32))
        if count < -1:
            raise MalformedError(f"an array of {count} elements")
        return max(count, 0)

    def elements(self) -> range:
        """One for each element of the array that begins here."""
        count = self.count()
        self._pass(count)
        return range(count)

    def node_id(self) -> bytes:
        """The next NodeId, in its own bytes."""
        start = self.at
        self._skip_node_id()
        return self._data[start : self.at]

    def variable(self) -> Variable:
        """The next DataValue."""
        start = self.at
        shape = shape_at(self._data, start)  # most are one number, of which everything is known
        if shape is not None and start + shape.size <= len(self._data):
            self.at = start + shape.size
            return Variable(self._data[start : self.at], shape.value_end, True)
        value_end = self._skip_data_value(0)
        return Variable(self._data[start : self.at], value_end - start, False)

    def skip_extension(self) -> None:
        """Step over an ExtensionObject."""
        self._skip_node_id()
        if self.u8():
            self.blob()

    def skip_localized(self) -> None:
        """Step over a LocalizedText."""
        mask = self.u8()
        for bit in (1, 2):
            if mask & bit:
                self.blob()

    def skip_diagnostic(self, depth: int = 0) -> None:
        """Step over a DiagnosticInfo."""
        self._descend(depth)
        mask = self.u8()
        self.take(4 * (mask & 0x0F).bit_count())  # symbolic id, namespace, locale, localized text
        if mask & 0x10:
            self.blob()
        if mask & 0x20:
            self.take(4)
        if mask & 0x40:
            self.skip_diagnostic(depth + 1)

    def _skip_data_value(self, depth: int) -> int:
        """Returns where its Variant ends."""
        mask = self.u8()
        if mask & _RESERVED:
            raise MalformedError(f"a value with mask 0x{mask:02x}")
        if mask & _HAS_VALUE:
            self._skip_variant(depth)
        value_end = self.at
        self.take(sum(size for bit, size in FIELDS if mask & bit))
        return value_end

    def _skip_variant(self, depth: int) -> None:
        self._descend(depth)
        form = self.u8()
        kind = form & _TYPE
        if kind in _SIZES:
            self.take(_SIZES[kind] * (self.count() if form & _ARRAY else 1))
        else:
            for _ in self.elements() if form & _ARRAY else range(1):
                self._skip(kind, depth)
        if form & _DIMENSIONS:
            self.take(4 * self.count())

    def _skip(self, kind: int, depth: int) -> None:
        if kind in {_NODE_ID, _EXPANDED}:
            self._skip_node_id()
        elif kind == _QUALIFIED:
            self.take(2)
            self.blob()
        elif kind == _LOCALIZED:
            self.skip_localized()
        elif kind == _EXTENSION:
            self.skip_extension()
        elif kind == _DATA_VALUE:
            self._skip_data_value(depth + 1)
        elif kind == _VARIANT:
            self._skip_variant(depth + 1)
        elif kind == _DIAGNOSTIC:
            self.skip_diagnostic(depth + 1)
        else:
            self.blob()  # String, ByteString, XmlElement; 26 to 31 are read as ByteString

    def _skip_node_id(self) -> None:
        form = self.u8()
        kind = form & 0x3F
        if kind <= 2:
            self.take((1, 3, 6)[kind])
        else:
            self.take(2)
            if kind == 4:
                self.take(16)
            elif kind in {3, 5}:
                self.blob()
            else:
                raise MalformedError(f"a node id of form {form}")
        if form & 0x80:
            self.blob()  # the namespace by its URI
        if form & 0x40:
            self.take(4)  # the server

    def _descend(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise MalformedError(f"values in values, more than {MAX_DEPTH} deep")
        self._pass(bool(depth))

    def _pass(self, count: int) -> None:
        self._elements -= count
        if self._elements < 0:
            raise MalformedError(f"more than {MAX_ELEMENTS} elements")


def blob(data: bytes | None) -> bytes:
    """A ByteString."""
    return NULL if data is None else _I32.pack(len(data)) + data


def text(value: str | None) -> bytes:
    """A String."""
    return blob(None if value is None else value.encode())


def node_id(namespace: int, identifier: str) -> bytes:
    """A NodeId.

    Args:
        namespace: its index on the server.
        identifier: as it is written: `i=`, `s=`, `g=` or `b=` and then the identifier.
    """
    kind, _, value = identifier.partition("=")
    index = _U16.pack(namespace)
    if kind == "i":
        return b"\x02" + index + _U32.pack(int(value))
    if kind == "g":
        return b"\x04" + index + uuid.UUID(value).bytes_le
    if kind == "b":
        return b"\x05" + index + blob(base64.b64decode(value, validate=True))
    return b"\x03" + index + text(value)
