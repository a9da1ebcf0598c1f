"""The agent runs on small machines: what the collector and the tests may use, it does without."""

import subprocess
import sys
from pathlib import Path

import joulemark_agent

HEAVY = ("pandas", "scipy", "pvlib", "rdtools", "CoolProp", "iapws", "sklearn", "statsmodels")
FOLDER = Path(joulemark_agent.__file__).parent


def test_all_of_the_agent_is_imported_where_data_science_cannot_be():
    names = [
        ".".join(file.relative_to(FOLDER.parent).with_suffix("").parts).removesuffix(".__init__")
        for file in sorted(FOLDER.rglob("*.py"))
        if "simulate" not in file.parts
    ]
    assert "joulemark_agent.equipment.pv_inverter" in names
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({HEAVY!r}))\n"  # importing one now raises ImportError
        f"for name in {names!r}: importlib.import_module(name)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
