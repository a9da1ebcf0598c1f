"""Python imports this at the start of every process that a test starts: look at what leaves."""

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

if "LEAVING_JOULEMARK" in os.environ:
    spec = spec_from_file_location("support.leaving", Path(__file__).parents[1] / "leaving.py")
    assert spec is not None
    assert spec.loader is not None
    # One module under one name: a process that runs tests imports it again.
    sys.modules[spec.name] = leaving = module_from_spec(spec)
    spec.loader.exec_module(leaving)
    leaving.install()
