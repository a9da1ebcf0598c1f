"""Joulemark's edge agent: reads factory machines, signs what it read and sends it on."""

__version__ = "0.1.0"
