"""Documents people write (profiles, sites, factors, projects): safe YAML in, canonical bytes out.

YAML is hostile until checked: aliases are refused (324 bytes of them can fill the memory), size
and depth are capped before anything is validated, and fractions become exact decimals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from joulemark_agent.contract.canonical import MAX_SAFE_INT, canonical_bytes, decimal_text
from joulemark_agent.contract.errors import ConfigError

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
MAX_VALUES = 50_000  # keys count too; each costs a kilobyte while it is read
MAX_MISTAKES = 1000  # that are told one by one
MAX_DIGITS = 80  # of a number, on either side of the point
_SHOWN = 60  # characters of what stood there

# libyaml reads nine times as fast, and takes some odd files that PyYAML itself refuses: where it is
# there it reads what is shipped, and nothing else. A test compares all that is shipped.
_QUICK: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Model = TypeVar("Model", bound=BaseModel)
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """The mapping of a YAML file, its name, and the line each part stands on."""

    name: str
    mapping: dict[str, Any]
    lines: Mapping[Path, int]

    def line_of(self, path: Path) -> int:
        """The line of the part, or of the nearest part around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse_yaml(text: str, name: str, *, is_shipped: bool = False) -> Document:
    """The mapping written in YAML; fractions are `Decimal`, so nothing is rounded on the way in.

    Args:
        text: of the file.
        name: of the file, for what is said of it.
        is_shipped: it is part of this package, and may be read by what is quick.

    Raises:
        ConfigError: too large, too deep, aliases or tags, a key twice, or not a mapping.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise _bad(name, 1, f"the file is longer than {MAX_BYTES} bytes", "Split it.")
    lines: dict[Path, int] = {}
    loader = _QUICK if is_shipped else yaml.SafeLoader
    try:
        depth = values = 0
        for event in yaml.parse(text, Loader=loader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise _bad(name, line, "anchors and aliases are not read", "Write the value out.")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH:
                raise _bad(name, line, f"more than {MAX_DEPTH} levels", "Make it flatter.")
            values += isinstance(event, yaml.NodeEvent)
            if values > MAX_VALUES:
                raise _bad(name, line, f"more than {MAX_VALUES} values", "Split the file.")
        node = yaml.compose(text, Loader=loader)
        value = _value(node, (), lines, name)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it is not YAML"
        line = mark.line + 1 if mark else 1
        raise _bad(name, line, str(problem), "Check indentation and quotes.") from error
    except (ValueError, OverflowError) as error:  # PyYAML's own, of numbers that are no character
        raise _bad(name, 1, f"this is no YAML: {error!s:.80}", "Check what is escaped.") from error
    if not isinstance(value, dict):
        raise _bad(name, 1, "the file holds no 'key: value' lines", "See configs/sites.")
    return Document(name, value, lines)


def validate(model: type[Model], document: Document) -> Model:
    """The document as the model; every mistake with its line and what stood there.

    Raises:
        ConfigError: one message that lists all mistakes.
    """
    try:
        return model.model_validate(document.mapping)
    except ValidationError as error:
        if error.error_count() > MAX_MISTAKES:
            raise ConfigError(
                f"{document.name}: {error.error_count()} mistakes.",
                "This is no file of the kind that is wanted: begin with an example in configs/.",
            ) from error
        mistakes = []
        for item in error.errors(include_url=False):
            path = tuple(part for part in item["loc"] if not str(part).startswith("("))
            where = ".".join(str(part)[:_SHOWN] for part in path) or "file"
            line, said = document.line_of(path), item["msg"].removeprefix("Value error, ")
            mistakes.append((line, f"{document.name}:{line}: {where}: {said}{_found(item)}"))
        listed = "\n  ".join(text for _, text in sorted(mistakes))
        raise ConfigError(
            f"{len(mistakes)} mistake(s):\n  {listed}\n",
            "Correct the lines named and run the command again.",
        ) from error


def _found(item: Mapping[str, Any]) -> str:
    """What stood there, unless the line shows it as well as we could, or the mistake is inside."""
    is_short = not isinstance(item["input"], (Mapping, list))
    if item["type"] == "missing" or not is_short or "\n" in item["msg"]:
        return ""
    return f" (found: {str(item['input'])[:_SHOWN]!r})"


def plain(value: Any) -> Any:
    """The value with decimals and large integers as text: what may stand in canonical bytes."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, int) and abs(value) > MAX_SAFE_INT:
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def document_bytes(mapping: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a document: what is digested, signed and put into bundles."""
    return canonical_bytes(plain(mapping))


def _value(node: yaml.Node | None, path: Path, lines: dict[Path, int], name: str) -> Any:
    if node is None:
        return None
    line = node.start_mark.line + 1
    lines[path] = line
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, item in node.value:
            key = _value(key_node, (*path, "?"), {}, name)
            if not isinstance(key, str):
                raise _bad(name, line, f"the key {key!r} is not text", "Put it in quotes.")
            if key in found:
                where = key_node.start_mark.line + 1
                raise _bad(name, where, f"the key {key!r} stands twice", "Keep one of them.")
            found[key] = _value(item, (*path, key), lines, name)
            lines[(*path, key)] = key_node.start_mark.line + 1
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, i), lines, name) for i, item in enumerate(node.value)]
    return _scalar(node, line, name)


def _scalar(node: yaml.Node, line: int, name: str) -> Any:
    text = str(node.value)
    if "\0" in text:
        raise _bad(name, line, "a text holds a zero byte", "Remove it.")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise _bad(name, line, "a text holds half a character", "Write the character itself.")
    tag = str(node.tag).rpartition(":")[2]
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() in {"true", "yes", "on"}
    if tag in {"str", "timestamp"}:
        return text
    if tag not in {"int", "float"}:
        raise _bad(name, line, f"the tag !{tag} is not read", "Write plain YAML without tags.")
    try:  # YAML 1.1 also takes 20:00 and 0o7 for numbers
        number = text.replace("_", "")
        value = Decimal(number) if tag == "float" or number.lstrip("+-").isdigit() else None
        whole = int(number, 16) if value is None and "0x" in number.lower() else value
    except (ValueError, ArithmeticError):
        whole = None
    if whole is None or not _is_usable(Decimal(whole)):
        raise _bad(
            name,
            line,
            f"{text[:60]!r} is not a finite decimal or 0x number of at most {MAX_DIGITS} digits",
            "Write such a number, or put quotes around the text.",
        )
    return whole if tag == "float" else int(whole)


def _is_usable(number: Decimal) -> bool:
    """Whether it can be computed with: 1e999999999 is short to write and long to compute."""
    if not number.is_finite():
        return False
    exponent = number.as_tuple().exponent
    return number.adjusted() < MAX_DIGITS and isinstance(exponent, int) and exponent >= -MAX_DIGITS


def _bad(name: str, line: int, what: str, do: str) -> ConfigError:
    return ConfigError(f"{name}:{line}: {what}.", do)
