"""Which software this is: its version, and a digest of the source that measures and prints."""

from __future__ import annotations

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

VERSION = "0.1.0"
_MEASURING = (
    ("joulemark_agent", "contract"),
    ("joulemark_agent", "kernels"),
    ("joulemark_gateway", "evidence"),
    ("joulemark_gateway", "measure"),
    ("joulemark_gateway", "reports"),
)


def source_digest() -> str:
    """SHA-256 (hex) over name and content of every source file that a figure passes through."""
    digest = hashlib.sha256()
    for package, folder in _MEASURING:
        for file in _files(resources.files(package).joinpath(folder)):
            digest.update(f"{package}/{folder}/{file.name}\n".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _files(folder: Traversable) -> list[Traversable]:
    files = [item for item in folder.iterdir() if item.name.endswith((".py", ".css", ".txt"))]
    return sorted(files, key=lambda item: item.name)
