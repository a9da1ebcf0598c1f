"""Make docs/formulas.md, the list of the formulas of machines, from their docstrings.

Run from the root of the repository:
    python docs/scripts/make_formula_table.py
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path("agent/joulemark_agent")
KERNELS = ("arrivals", "demand", "reconcile", "stream")  # those that are formulas
TARGET = Path("docs/formulas.md")
HEAD = """# Formulas

Made by `docs/scripts/make_formula_table.py` from the docstrings of `agent/joulemark_agent/physics`
and of some kernels: change a docstring, not this page. Every function takes and gives SI units,
pressures are absolute unless a name says gauge, and what lies outside a formula's range is refused
(`OutOfDomain`; NaN where a function takes arrays). Units, ranges and errors of each argument stand
in the docstring.
"""
_LABEL = re.compile(r"^(Formula|Source|Range|Error|Note|Args|Returns|Raises):", re.MULTILINE)


class Formula(NamedTuple):
    """One public function of a file."""

    function: str
    gives: str  # first line of its docstring
    formula: str  # "" where the docstring names none
    source: str


def formulas(file: Path) -> Iterator[Formula]:
    """The public functions of a file, in its order."""
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node) or ""
            first = " ".join(text.split("\n\n", maxsplit=1)[0].split())
            formula, source = _told(text, "Formula"), _told(text, "Source")
            if file.parent.name == "kernels":  # what has no formula serves one that has
                if not formula:
                    continue
                source = source or "definition"
            yield Formula(node.name, first, formula, source)


def files() -> list[Path]:
    """The files of formulas."""
    physics = sorted((PACKAGE / "physics").glob("[a-z]*.py"))
    kernels = [PACKAGE / f"kernels/{name}.py" for name in KERNELS]
    return [file for file in (*kernels, *physics) if file.stem not in {"domain", "us_units"}]


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for file in files():
        module = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        rows = list(formulas(file))
        if not rows:
            continue
        lines += [f"## `{file.stem}`", "", module.split("\n\n", maxsplit=1)[0], ""]
        lines += ["| function | gives | formula | source |", "|---|---|---|---|"]
        lines += [_row(row) for row in rows]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _row(row: Formula) -> str:
    cells = (f"`{row.function}`", *(_cell(text) for text in row[1:]))
    return f"| {' | '.join(cells)} |"


def _told(text: str, label: str) -> str:
    """What a docstring says after a label, until the next label or an empty line."""
    found = re.search(rf"^{label}:\s*", text, re.MULTILINE)
    if found is None:
        return ""
    rest = text[found.end() :].split("\n\n", maxsplit=1)[0]
    following = _LABEL.search(rest)
    return " ".join(rest[: following.start() if following else None].split()).rstrip(".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(page(), "utf-8")
