"""Targets that must fail: decoders without the checks that ours have."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import yaml
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua.ua_binary import variant_from_binary
from asyncua.ua.uaerrors import UaError
from pydantic import BaseModel

from support.fuzz.harness import Target

FIVE_BYTES = b"\x80" + struct.pack("<i", 1 << 27)  # an array of so many nothings
ALIASES = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(
        f"{x}: &{x} [{','.join([f'*{y}'] * 9)}]"
        for y, x in zip("abcdefg", "bcdefgh", strict=True)
    )
).encode()  # fmt: skip
LISTS = zlib.compress(b"[" + b"[]," * (5 << 20) + b"[]]")


class AnyDocument(BaseModel):
    """Whatever it holds."""

    model_config = {"extra": "allow"}


def _stock_variant(data: bytes) -> None:
    variant_from_binary(Buffer(data))


def _stock_yaml(data: bytes) -> None:
    found: dict[str, Any] = yaml.safe_load(data)
    AnyDocument.model_validate(found).model_dump_json()


def _stock_json(data: bytes) -> None:
    json.loads(zlib.decompress(data))


PLANTED = (
    Target("stock_variant", lambda: [b"\x01\x01"], _stock_variant, lambda *_: FIVE_BYTES,
           (UaError, NotEnoughData)),
    Target("stock_yaml", lambda: [b"a: 1"], _stock_yaml, lambda *_: ALIASES, (yaml.YAMLError,)),
    Target("stock_json", lambda: [zlib.compress(b"[]")], _stock_json, lambda *_: LISTS,
           (ValueError, zlib.error)),
)  # fmt: skip
