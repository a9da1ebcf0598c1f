"""Imports go one way; a broken rule is named with its file and line."""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    "joulemark_agent": ROOT / "agent/joulemark_agent",
    "joulemark_gateway": ROOT / "gateway/joulemark_gateway",
    "joulemark_profiles": ROOT / "configs/joulemark_profiles",
}
PUBLISHED = (
    "joulemark_agent.contract",
    "joulemark_agent.kernels",
    "joulemark_agent.equipment",
    "joulemark_agent.physics",
    "joulemark_agent.envelope",  # pure: what an agent says of its batches, for whoever repeats it
    "joulemark_agent.figures",  # pure: what it says of its machines, likewise
)
HOST = (  # files that hold keys, event logs, word to the service manager: of one form on both sides
    "joulemark_agent.files",
    "joulemark_agent.keys",
    "joulemark_agent.log",
    "joulemark_agent.mqtt_client",
    "joulemark_agent.progress",
    "joulemark_agent.tls",
    "joulemark_agent.watchdog",
)
BASE_INSTALL = {"numpy", "numba", "cryptography", "rfc8785", "pydantic", "segno"}
IMPURE = {
    "os", "io", "socket", "time", "logging", "pathlib", "asyncio", "subprocess", "sqlite3",
    "threading", "random", "shutil", "tempfile", "signal", "requests", "paho", "duckdb",
}  # fmt: skip


def modules(*names: str) -> list[str]:
    """Every module below the packages named, as dotted names."""
    found = []
    for name in names:
        top, *rest = name.split(".")
        base = SOURCES[top].joinpath(*rest)
        files = [base.with_suffix(".py")] if base.with_suffix(".py").exists() else []
        files += sorted(base.rglob("*.py")) if base.is_dir() else []
        for file in files:
            parts = file.relative_to(SOURCES[top].parent).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def path_of(module: str) -> Path:
    top, *rest = module.split(".")
    base = SOURCES[top].joinpath(*rest)
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


@cache
def imports(module: str, *, lazily_too: bool = True) -> list[tuple[str, int]]:
    """The modules a file imports, with the line; inside functions too unless told otherwise."""
    return list(_imports(module, lazily_too))


def _imports(module: str, lazily_too: bool) -> Iterator[tuple[str, int]]:
    tree = ast.parse(path_of(module).read_text("utf-8"))
    nodes = ast.walk(tree) if lazily_too else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = name.split(".", 1)[0] in SOURCES and path_of(name).exists()
                yield (name if is_module else str(node.module)), node.lineno


def broken(package: str, allowed, *, but: str = "") -> list[str]:
    return [
        f"{path_of(module).relative_to(ROOT)}:{line}: {module} imports {name}"
        for module in modules(package)
        if not (but and under(module, but))
        for name, line in imports(module)
        if not allowed(name)
    ]


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_the_agent_never_imports_the_gateway():
    assert not broken("joulemark_agent", lambda name: not under(name, "joulemark_gateway"))


def test_the_gateway_takes_only_the_published_parts_of_the_agent():
    assert not broken(
        "joulemark_gateway",
        lambda name: not under(name, "joulemark_agent") or under(name, *PUBLISHED, *HOST),
    )


@pytest.mark.parametrize(
    ("package", "may_import"),
    [
        ("joulemark_agent.contract", ("joulemark_agent.contract",)),
        ("joulemark_agent.kernels", ("joulemark_agent.contract", "joulemark_agent.kernels")),
        ("joulemark_agent.envelope", ("joulemark_agent.contract", "joulemark_agent.kernels")),
        ("joulemark_agent.physics", (
            "joulemark_agent.contract", "joulemark_agent.kernels", "joulemark_agent.physics",
        )),
        ("joulemark_agent.equipment", (
            "joulemark_agent.contract", "joulemark_agent.kernels", "joulemark_agent.physics",
            "joulemark_agent.equipment",
        )),
        ("joulemark_agent.figures", (
            "joulemark_agent.contract", "joulemark_agent.kernels", "joulemark_agent.equipment",
        )),
        ("joulemark_gateway.measure", (
            "joulemark_agent.contract", "joulemark_agent.kernels", "joulemark_agent.physics",
            "joulemark_gateway.measure", "joulemark_gateway.evidence.history",
        )),
        ("joulemark_gateway.ingest.verify", (
            "joulemark_agent.contract", "joulemark_agent.kernels",
            "joulemark_gateway.evidence.history", "joulemark_gateway.evidence.base",
            "joulemark_gateway.evidence.withheld", "joulemark_gateway.ingest.registered",
            "joulemark_gateway.ingest.signing", "joulemark_gateway.ingest.sparse",
        )),
        ("joulemark_gateway.ingest.signing", (
            "joulemark_agent.contract", "joulemark_gateway.evidence.base",
            "joulemark_gateway.ingest.registered", "joulemark_gateway.ingest.sparse",
        )),
        ("joulemark_gateway.ingest.registered", ("joulemark_agent.contract",)),
        ("joulemark_gateway.series.project", (
            "joulemark_agent.contract", "joulemark_agent.kernels", "joulemark_agent.figures",
            "joulemark_gateway.evidence", "joulemark_gateway.series",
        )),
    ],
)  # fmt: skip
def test_pure_code_imports_pure_code(package, may_import):
    assert not broken(
        package,
        lambda name: (
            under(name, *may_import)
            if name.split(".")[0] in SOURCES
            else name.split(".")[0] not in IMPURE
        ),
    )


def test_measuring_never_sees_the_scenario():
    """No import of `measure`, direct or indirect, reaches the simulator or its recordings."""
    reached = closure("joulemark_gateway.measure.run")
    assert "joulemark_agent.kernels.energy" in reached, "the walk must reach something"
    assert not [name for name in reached if under(name, "joulemark_agent.simulate")]
    for module in modules("joulemark_gateway.measure"):
        text = path_of(module).read_text("utf-8")
        assert "scenario" not in text.lower(), f"{module} speaks of a scenario"


def test_verifying_needs_the_base_install_only():
    outside = {
        name.split(".")[0]
        for module in closure("joulemark_gateway.verify.verdict")
        | closure("joulemark_gateway.verify.command")
        for name, _ in imports(module, lazily_too=False)
    }
    assert outside - set(SOURCES) - BASE_INSTALL <= sys.stdlib_module_names


def test_only_pages_and_api_know_the_web_framework():
    """And the collector starts without it: what shows is imported where it is wanted."""
    framework = {"fastapi", "starlette", "uvicorn", "jinja2", "markupsafe"}
    found = [
        module
        for module in modules("joulemark_gateway", "joulemark_agent")
        if not under(module, "joulemark_gateway.web", "joulemark_gateway.api")
        for name, _ in imports(module)
        if name.split(".")[0] in framework
    ]
    assert not found
    reached = {
        name.split(".")[0]
        for module in closure("joulemark_gateway.app")
        for name, _ in imports(module, lazily_too=False)
    }
    assert not reached & framework


def test_the_agent_imports_no_data_science():
    heavy = {"pandas", "scipy", "pvlib", "rdtools", "CoolProp", "sklearn", "statsmodels"}
    assert not broken("joulemark_agent", lambda name: name.split(".")[0] not in heavy)


def test_only_the_virtual_factory_knows_a_library_for_opc_ua():
    """What reads is our own: see docs/decisions/0010."""
    assert not broken(
        "joulemark_agent",
        lambda name: name.split(".")[0] != "asyncua",
        but="joulemark_agent.simulate",
    )
    reached = closure("joulemark_agent.app") | closure("joulemark_agent.commands")
    assert "joulemark_agent.lines" in reached, "the walk must reach something"
    assert not [name for name in reached if under(name, "joulemark_agent.simulate")]


WRITING = re.compile(
    r"(?i)\b(write_\w+|set_value\w*|set_attribute\w*|call_method\w*|write_?request|call_?request"
    r"|delete_nodes|add_nodes|history_update)\b"
)
MAY_BE_SENT = {"FUNCTIONS": {1, 2, 3, 4}, "OPEN_CHANNEL": 446, "CREATE": 461, "ACTIVATE": 467,
               "GET_ENDPOINTS": 428, "CLOSE": 473, "READ": 631, "BROWSE": 527, "BROWSE_NEXT": 533,
               "CREATE_SUBSCRIPTION": 787, "CREATE_ITEMS": 751, "DELETE_ITEMS": 781, "PUBLISH": 826,
               "REPUBLISH": 832}  # fmt: skip


def test_no_driver_can_write_to_a_machine():
    """No name of a writing call stands in a driver, and no number of one may be sent."""
    found = {}
    names = ("channel", "session", "subscription", "browse")
    opcua = tuple(f"joulemark_agent.opcua_{name}" for name in names)
    wire: tuple[str, ...] = ("joulemark_agent.modbus_line", "joulemark_agent.serial_port")
    wire += (
        "joulemark_agent.exchange",
        "joulemark_agent.identification",
        "joulemark_agent.scan",
        *opcua,
    )
    reading = modules("joulemark_agent.drivers", *wire)
    assert {*wire, "joulemark_agent.drivers.modbus_rtu"} < set(reading)
    for module in reading:
        text = path_of(module).read_text("utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            assert not WRITING.search(line), f"{path_of(module).relative_to(ROOT)}:{number}: {line}"
        for name in MAY_BE_SENT:
            if (value := getattr(importlib.import_module(module), name, None)) is not None:
                found[name] = set(value.values()) if isinstance(value, dict) else value
    assert found == MAY_BE_SENT
    asked = set().union(*map(asked_services, (*opcua, "joulemark_agent.drivers.opcua")))
    assert asked == set(MAY_BE_SENT) - {"FUNCTIONS"}


@pytest.mark.parametrize(
    "planted", ["await client.write_values(nodes, [1])", "node.set_value(1)", "ua.WriteRequest()"]
)
def test_a_planted_write_would_be_found(planted):
    assert WRITING.search(planted)


def asked_services(module: str) -> set[str]:
    """What stands first in every call of `Channel.ask`, which alone sends a service request."""
    calls = [
        node
        for node in ast.walk(ast.parse(path_of(module).read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "ask"
        and ast.unparse(node.func.value) != "self._exchange"
    ]
    return {ast.unparse(call.args[0]) for call in calls}


def closure(start: str) -> set[str]:
    """Every module of ours that importing `start` imports."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module in seen or module.split(".")[0] not in SOURCES or not path_of(module).exists():
            continue
        seen.add(module)
        parts = module.split(".")
        waiting += [".".join(parts[:i]) for i in range(1, len(parts))]
        waiting += [name for name, _ in imports(module, lazily_too=False)]
    return seen
