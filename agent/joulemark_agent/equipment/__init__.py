"""Equipment models: pure functions from a machine's points to its key figures, one file per kind.

| looking for | open |
|---|---|
| samples, figures, findings; energy of any windows | `base.py` |
| which kinds there are, how a model is found | `models.py` |
| load, unload, off; specific power; leaks | `air_compressor.py` |
| yield, DC = V x I, efficiency, sun without AC | `pv_inverter.py` |
| batches, energy per batch, gas to kWh and CO2e | `furnace.py` |
"""

from joulemark_agent.equipment.base import (
    Analysis,
    Figure,
    Finding,
    Samples,
    Span,
    Windows,
    at_device_time,
    counted,
    held,
)
from joulemark_agent.equipment.models import analyse, has_model, parameters_of

__all__ = [
    "Analysis",
    "Figure",
    "Finding",
    "Samples",
    "Span",
    "Windows",
    "analyse",
    "at_device_time",
    "counted",
    "has_model",
    "held",
    "parameters_of",
]
