"""Whether a controller's web interface over https is the one that is meant.

Controllers sign their certificates themselves, for years that are over and names that nobody uses:
there a fingerprint says all. Where an authority signed it, its time and name are checked too.
"""

from __future__ import annotations

import hmac
import ssl
from dataclasses import dataclass
from pathlib import Path

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.exchange import UNTRUSTED
from joulemark_agent.tls import certificate_fingerprint

HOW = (
    "Compare it with what the device's own pages or its panel show, and write it as"
    " 'tls: {fingerprint: ...}'; if it is another, look who answers there."
)


@dataclass(frozen=True)
class Trust:
    """One of three: a fingerprint, an authority of its own, or those that this machine believes."""

    fingerprint: str | None = None  # SHA-256 of the certificate, 64 small digits
    ca: Path | None = None
    host: str | None = None  # that the certificate bears, where it is not the URL's

    def context(self) -> ssl.SSLContext:
        """What a connection is opened with.

        Raises:
            DeviceError: the authority's file cannot be read.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which checks certificate and name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if self.ca is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self.ca)
        except (OSError, ssl.SSLError) as error:
            raise DeviceError(
                f"{self.ca} cannot be used as the authority of a device: {error}.",
                "Name its certificate, in PEM, under 'tls: {ca: FILE}'.",
                code=UNTRUSTED,
            ) from error
        if self.fingerprint is not None:  # looked at by `check`, before anything is asked
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def check(self, certificate: bytes, peer: str) -> None:
        """Raise `DeviceError` where another certificate than the pinned one is shown.

        Args:
            certificate: in DER.
            peer: what to call the device.
        """
        found = certificate_fingerprint(certificate)
        if self.fingerprint is not None and not hmac.compare_digest(found, self.fingerprint):
            raise DeviceError(
                f"{peer} shows a certificate with the fingerprint {found}, and"
                f" {self.fingerprint} was wanted.",
                HOW,
                code=UNTRUSTED,
            )
