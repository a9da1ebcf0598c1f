"""The site's authority as a folder: its key and certificate, and the record of what it gave out.

`STATE_DIR/ca` holds `ca.key` (mode 0600; systemd may hand it over as a credential, or it is put
there only when something is to be signed), `ca.pem` and `crl.pem`, which everybody may know, and
`ca.db`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.files import credential, replace_file, require_private
from joulemark_agent.tls import WARN_DAYS, hosts_of, key_pem, new_key, own_certificate
from joulemark_gateway.pki.authority import (
    BEHIND,
    CA_DAYS,
    DAYS,
    Authority,
    Holder,
    Role,
    issue,
    new_authority,
    part_of,
    revocation_list,
    server_holder,
)
from joulemark_gateway.pki.records import FILE, Issued, Records

KEY, CERTIFICATE, LIST = "ca.key", "ca.pem", "crl.pem"


class SiteCa:
    """The authority of one collector; a context that releases the record."""

    def __init__(self, folder: Path) -> None:
        """Open it; the private key is read only when something is to be signed.

        Raises:
            ConfigError: there is none.
            StoreError: its record cannot be used.
        """
        self.folder = folder
        if not (folder / CERTIFICATE).is_file():
            raise ConfigError(
                f"There is no certificate authority in {folder}.",
                "Make one with 'joulemark collector ca init -c COLLECTOR.yaml'.",
            )
        self.records = Records(folder)

    @classmethod
    def created(cls, folder: Path, now: datetime, days: int = CA_DAYS) -> Self:
        """A new authority in a folder that has none.

        Raises:
            ConfigError: there is one, or the files cannot be written.
            StoreError: the record cannot be made.
        """
        if (folder / CERTIFICATE).exists() or (folder / FILE).exists():
            raise ConfigError(
                f"There is a certificate authority in {folder} already.",
                "Use it. A new one would have every agent enrolled again; move the folder away if"
                " that is meant.",
            )
        made = new_authority(new_key(), now, days)
        written(folder / KEY, key_pem(made.key))
        written(folder / CERTIFICATE, pem(made.certificate), 0o644)
        found = cls(folder)
        found.revoked_list(now)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the record."""
        self.records.close()

    @property
    def certificate_pem(self) -> bytes:
        """The authority's certificate, for everybody who is to trust what it signs."""
        return (self.folder / CERTIFICATE).read_bytes()

    @property
    def can_sign(self) -> bool:
        """Whether its private key is at hand."""
        return credential(self.folder / KEY).is_file()

    @cached_property
    def authority(self) -> Authority:
        """Its certificate and private key.

        Raises:
            ConfigError: they cannot be read, or do not belong together.
        """
        path = credential(self.folder / KEY)
        try:
            require_private(path)
            key = load_pem_private_key(path.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(self.certificate_pem)
        except (OSError, ValueError, TypeError, x509.InvalidVersion) as error:
            raise _unusable(path, str(error)) from error
        if not isinstance(key, EllipticCurvePrivateKey):
            raise _unusable(path, "it is no key on P-256")
        if key.public_key() != certificate.public_key():
            raise _unusable(path, f"it is not the key of {CERTIFICATE}")
        return Authority(certificate, key)

    def require_ready(self, now: datetime) -> None:
        """Raise `ConfigError` where nothing can be signed: no key, or not at this time.

        A certificate of a clock that stands in 1970 has ended for everybody whose clock is right.
        """
        self._require_lasting(now)
        made = self.authority.certificate.not_valid_before_utc
        if now < made:
            raise ConfigError(
                f"This computer's clock says {now:%Y-%m-%d}, and the site's authority was made on"
                f" {made:%Y-%m-%d}.",
                "Set the clock; then do it again.",
            )

    def _require_lasting(self, now: datetime) -> None:
        end = self.authority.certificate.not_valid_after_utc
        if now >= end:
            raise ConfigError(
                f"The site's authority has ended on {end:%Y-%m-%d}: nobody believes it any more.",
                f"Move {self.folder} away, run 'joulemark collector ca init', and have every agent"
                " enrolled again.",
            )

    def certify(
        self, key: EllipticCurvePublicKey, holder: Holder, now: datetime, days: int
    ) -> x509.Certificate:
        """A certificate for the holder, remembered before it is given out.

        Raises:
            ConfigError: as `require_ready`.
            StoreError: it could not be remembered.
        """
        self.require_ready(now)
        certificate = issue(self.authority, key, holder, now, days)
        self.records.keep(certificate, holder.role, holder.name, now)
        return certificate

    def equip(
        self,
        path: Path,
        role: Role,
        now: datetime,
        *,
        hosts: Sequence[str] = (),
        part: str | None = None,
        days: int = DAYS,
        within_days: int | None = WARN_DAYS,
    ) -> bool:
        """See that a server on this machine has a key and a certificate; errors as above.

        Args:
            path: of both.
            role: what the server is.
            now: aware.
            hosts: its names and addresses; none: those that it has.
            part: which of several collectors; None: the one that it is.
            days: how long a new certificate holds.
            within_days: one that ends within so many days is replaced; None: any is.

        Returns:
            whether it has a new one: there was none, it ends soon, or has other names.
        """
        known = own_certificate(path) if path.exists() else None
        names = list(hosts) or (hosts_of(known) if known else [])
        try:
            part = part_of(known) if part is None and known is not None else part
            holder = server_holder(role, names, part or "")
        except ValueError as error:
            raise ConfigError(
                f"The {role} cannot have that name: {error}.",
                "Give '--host' the name or address under which it is reached.",
            ) from error
        if not names:
            raise ConfigError(
                f"The certificate of the {role} needs the name or address under which it is"
                " reached.",
                "Give it with '--host NAME', as often as it has names.",
            )
        if (
            known is not None
            and within_days is not None
            and sorted(hosts_of(known)) == sorted(names)
            and known.issuer == self.authority.certificate.subject
            and known.not_valid_before_utc <= now  # a clock was ahead when it was made
            and known.not_valid_after_utc - now > timedelta(days=within_days)
        ):
            return False
        key = new_key()
        certificate = self.certify(key.public_key(), holder, now, days)
        written(path, pem(certificate) + key_pem(key))
        return True

    def revoked_list(self, now: datetime) -> bytes:
        """The revocation list as it is now, in PEM, also kept in `crl.pem`; errors as `certify`.

        It begins an hour ago, so that no clock that is behind takes it for a future one, and later
        than every list before: OpenSSL keeps the one that begins last.
        """
        self._require_lasting(now)
        with self.records.alone():
            taken = [(i.serial, i.revoked) for i in self.records.issued() if i.revoked is not None]
            number, since = self.records.next_list(now - BEHIND, now)
            made = revocation_list(self.authority, taken, since, number)
            data = made.public_bytes(Encoding.PEM)
            written(self.folder / LIST, data, 0o644)
        return data

    def holder_of(self, certificate: bytes, now: datetime) -> Issued | None:
        """Whose certificate a client showed, which TLS has checked; None: one that holds no more.

        Args:
            certificate: in DER.
            now: aware.
        """
        shown = x509.load_der_x509_certificate(certificate)
        found = self.records.issued_as(shown.serial_number)
        if found is None or found.pem != pem(shown) or found.revoked or found.until <= now:
            return None
        return found


def pem(certificate: x509.Certificate) -> bytes:
    """Its text."""
    return certificate.public_bytes(Encoding.PEM)


def written(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file as a whole; where root writes, it belongs to whom its folder belongs.

    So what root renews in the folder of a server can be read by that server.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        replace_file(path, data, mode)
        if os.geteuid() == 0:
            folder = path.parent.stat()
            os.chown(path, folder.st_uid, folder.st_gid)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.",
            "Check the folder, who may write to it, and the free space.",
        ) from error


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{path} cannot be used as the authority's key: {why}.",
        "Restore it from its copy; a new authority would have every agent enrolled again.",
    )
