"""The whole chain on one machine, from recorded plant data to a checked bundle."""

from joulemark_gateway.demo.command import add_command

__all__ = ["add_command"]
