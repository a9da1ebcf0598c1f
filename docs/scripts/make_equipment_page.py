"""Make docs/equipment.md, what a site file may say of its machines, from the equipment models.

Run from the root of the repository, with the project installed:
    python docs/scripts/make_equipment_page.py
"""

import ast
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

FOLDER = Path("agent/joulemark_agent/equipment")
TARGET = Path("docs/equipment.md")
_TYPES = {
    "Positive": "a number above 0",
    "NotNegative": "a number from 0",
    "Share": "a number from 0 to 1",
    "Kelvin": "a number from 200 to 2500",
    "Metres": "a number above 0, up to 100",
    "InKelvin": "a point in K",
    "Ratio": "a number",
    "BelowOne": "a number below 1",
    "Number": "a number",
    "bool": "true or false",
    "str": "text",
    "int": "a whole number",
}
HEAD = """# Machines

Made by `docs/scripts/make_equipment_page.py` from the models in `agent/joulemark_agent/equipment`:
change a model, not this page.

The kind of a device stands in its profile, and each kind below has a model. What the model must
know of the machine stands under `equipment:` of the device in the site file; what nobody knows is
left out, and what cannot be computed without it is refused with the reason. `figures_every_s` has
the agent state the figures of windows in the evidence ([why](decisions/0020-live-figures.md)); the
collector computes them for any span. Every figure has a coverage, and a standard uncertainty where
it is known. The formulas are in [formulas.md](formulas.md). All keys are in SI units.
"""


def kinds() -> list[str]:
    """The kinds that have a model: `Parameters` and `analyse` in a file of that name."""
    files = sorted(file for file in FOLDER.glob("[a-z]*.py"))
    return [file.stem for file in files if {"Parameters", "analyse"} <= _names(file)]


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for kind in kinds():
        module = importlib.import_module(f"joulemark_agent.equipment.{kind}")
        lines += [f"## `{kind}`", "", inspect.getdoc(module) or "", ""]
        for section in _sections(module.Parameters):
            name = "" if section is module.Parameters else f"`{section.__name__}`: "
            lines += [f"{name}{inspect.getdoc(section)}", "", *_table(section), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _names(file: Path) -> set[str]:
    named = (ast.ClassDef, ast.FunctionDef)
    return {
        node.name for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, named)
    }


def _sections(parameters: type[BaseModel]) -> list[type[BaseModel]]:
    """The section and those inside it, each once."""
    found = [parameters]
    for section in found:
        for field in section.model_fields.values():
            found += [inner for inner in _models_in(field.annotation) if inner not in found]
    return found


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models_in(part)


def _table(section: type[BaseModel]) -> list[str]:
    rows = [f"| {' | '.join(_cell(text) for text in row)} |" for row in _keys(section)]
    head = ["| key | takes | if left out | what it is |", "|---|---|---|---|"]
    return [*head, *rows] if rows else []


def _keys(section: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Each key: what it takes, what stands for it when absent, and the comment beside it."""
    for owner in reversed(section.__mro__):
        if not issubclass(owner, BaseModel) or owner is BaseModel:
            continue
        source = inspect.getsource(owner)
        lines = source.splitlines()
        [body] = ast.parse(source).body
        assert isinstance(body, ast.ClassDef)
        for node in body.body:
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            key = node.target.id
            if key in section.model_fields:
                field = section.model_fields[key]
                default = "required" if field.is_required() else _shown(field.get_default())
                takes = _takes(ast.unparse(node.annotation))
                yield (
                    f"`{key}`",
                    takes,
                    default,
                    _comment(lines, node.lineno - 1, (node.end_lineno or 1) - 1),
                )


def _takes(annotation: str) -> str:
    """What a key takes, in words, from how the code writes its type."""
    text = re.sub(r"Annotated\[Number, Field\(([^)]*)\)\]", lambda at: _bounds(at[1]), annotation)
    text = re.sub(r"of_unit\(([^)]*)\)", lambda units: _points(units[1]), text)
    text = re.sub(r"Literal\[([^\]]*)\]", lambda words: _words(words[1]), text)
    text = re.sub(r"Annotated\[str, (a point[^\]]*)\]", r"\1", text)
    text = re.sub(r"Annotated\[(.*), (?:Before|After)Validator\(\w+\)\]", r"\1", text)
    text = re.sub(r"Annotated\[(.*), Field\([^)]*\)\]", r"\1", text)
    text = re.sub(r"tuple\[(.*), \.\.\.\]", r"a list of \1", text)
    text = re.sub(r"dict\[(\w+), (.*)\]", r"\1: \2", text)
    text = re.sub(r" ?\| None\b", "", text)
    for code, word in _TYPES.items():
        text = re.sub(rf"\b{code}\b", word, text)
    return text


def _points(units: str) -> str:
    names = [name or "no unit" for name in re.findall(r"'([^']*)'", units)]
    return f"a point in {' or '.join(names)}"


def _words(words: str) -> str:
    return " or ".join(
        f"`{word}`" for word in re.findall(r"'([^']*)'|(\d+)", words) for word in word if word
    )


def _bounds(bounds: str) -> str:
    signs = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}
    parts = [part.strip().split("=") for part in bounds.split(",")]
    return "a number " + " ".join(f"{signs.get(sign, sign)} {least}" for sign, least in parts)


def _shown(default: object) -> str:
    if default is None or default == () or isinstance(default, BaseModel):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _comment(lines: list[str], first: int, last: int) -> str:
    """The comments at the end of a field's lines, and in whole lines above it."""
    above: list[str] = []
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
        above.insert(0, lines[first].lstrip(" #"))
    beside = [line.partition("  # ")[2] for line in lines[first + len(above) : last + 1]]
    return " ".join(part for part in (*above, *beside) if part and not part.startswith("noqa"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(page(), "utf-8")
