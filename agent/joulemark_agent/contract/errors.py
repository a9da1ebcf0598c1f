"""The family of errors. The type says whether trying again can help.

JoulemarkError
├── ConfigError        a file or option a person wrote: fix it; trying again does not help
├── DeviceError        a device did not answer, or answered wrongly: trying again may help
├── EvidenceError      bytes that are not what they claim to be: never accepted
├── UplinkError        broker or collector out of reach or refusing: trying again may help
├── StoreError         disk full, unreadable or foreign store: free space or repair, then again
└── MeasureError       figures that cannot be backed: refused, with the code of the rule
"""

from __future__ import annotations


class JoulemarkError(Exception):
    """Says what happened and what to do next; `code` is stable and documented."""

    code = "error"

    def __init__(self, what: str, do: str, *, code: str | None = None) -> None:
        super().__init__(f"{what} {do}")
        self.what, self.do = what, do
        if code is not None:
            self.code = code


class ConfigError(JoulemarkError):
    """A site file, profile, project or option that cannot be used as written."""

    code = "config"


class DeviceError(JoulemarkError):
    """No value from a device at this slot; `code` is the cause written into the gap."""

    code = "device"


class EvidenceError(JoulemarkError):
    """Bytes that are not what they claim to be; `code` names the check that failed."""

    code = "evidence"


class UplinkError(JoulemarkError):
    """The broker or the collector cannot be reached or refuses; nothing was deleted."""

    code = "uplink"


class StoreError(JoulemarkError):
    """The outbox or the evidence store cannot be written or read."""

    code = "store"


class MeasureError(JoulemarkError):
    """A figure that cannot be backed; `code` is the rule that refuses it."""

    code = "measure"
