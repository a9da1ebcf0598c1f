"""Equipment models: pure functions from a machine's points to its key figures, one file per kind.

| looking for | open |
|---|---|
| samples, figures, findings; energy of any windows | `base.py` |
| which kinds there are, how a model is found | `models.py` |
| load, unload, off; specific power; leaks | `air_compressor.py` |
| several compressors on one header | `compressor_house.py` |
| yield, performance ratios, clipping, soiling, DC = V x I, sun without AC | `pv_inverter.py` |
| generation, import, export and use of a site from several meters | `site_balance.py` |
| ratios and class of a meter, how sure its figures are | `metering.py` |
| batches, energy per batch, gas to kWh and CO2e, heat balance | `furnace.py` |
| energy both ways, register against integral, demand, power factor | `power_meter.py` |
| figures over several devices of a site | `systems/` |
| cooling, COP, part load | `chiller.py` |
| process and idle mode of a dry pump, what idling saves | `vacuum_pump.py` |
| electricity, fuel and water per tool-hour | `scrubber.py` |
| process gases, abatement, equivalent energy of a fab tool | `process_tool.py` |
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
