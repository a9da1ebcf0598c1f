"""The virtual factory: a recorded year of one works behind real Modbus sockets.

`run.serve` starts it, `command.add_command` is `joulemark agent simulate`. This file imports
nothing, so that a command line that only verifies does not need what a scenario file needs.
"""
