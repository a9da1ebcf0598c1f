"""Virtual factories behind real sockets: a recorded year of a steel works, and an equipment hall.

`run.serve` starts one, `command.add_commands` is `joulemark agent simulate`. This file imports
nothing, so that a command line that only verifies does not need what a scenario file needs.
"""
