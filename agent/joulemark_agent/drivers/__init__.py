"""One file per protocol, found by its name: a driver speaks over a line and owns no settings."""
