"""Who logs in at a controller's web interface; the password is in the environment only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Login:
    """A user of a controller."""

    user: str
    password_variable: str  # the environment variable that holds the password
