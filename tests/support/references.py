"""Tests that a page of the documents names: whether there is such a test."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def collected(path: str) -> frozenset[str]:
    """The tests that pytest collects from a file, parametrised ones by their function."""
    file = ROOT / path
    if not (path.startswith("tests/") and file.name.startswith("test_") and file.is_file()):
        return frozenset()
    found = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {
            prefix + each.name
            for each in inside
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            and each.name.startswith("test_")
        }
    return frozenset(found)


def exists(reference: str) -> bool:
    """Whether `tests/FILE.py::NAME` is one."""
    path, _, name = reference.partition("::")
    return name in collected(path)
