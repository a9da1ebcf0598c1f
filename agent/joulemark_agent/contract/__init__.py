"""What the agent and the collector agree on: pure functions and values, no I/O, no clock."""
