"""Figures over several devices of a site: pure functions of their samples, one file per kind.

| looking for | open |
|---|---|
| what a system is given, and who may be a member | `base.py` |
| which kinds there are, how one is found and checked | `find.py` |
| several compressors on one header | `compressor_house.py` |
| sun, grid and consumers of a site | `site_balance.py` |
"""

from joulemark_agent.equipment.systems.base import Member, Role
from joulemark_agent.equipment.systems.find import analyse, kinds, mistakes

__all__ = ["Member", "Role", "analyse", "kinds", "mistakes"]
