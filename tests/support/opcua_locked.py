"""Foreign OPC UA servers behind security policies: asyncua in process, node-opcua as a process."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509

from support import certificates
from support.opcua import AT, URI, in_a_thread

NODE_SCRIPT = Path(__file__).parents[1] / "data" / "node_opcua_server.js"
PASSWORDS = {
    "reader": "kalt & nass: \u00fc",
    "verbose": "x" * 500,  # longer than one block of a key, which asyncua does not read
}
VALUE = 1273.15
TICK_MS = 150  # of the variable that counts, at node-opcua
POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")


_KNOWN = {"CN=user", "CN=agent", "CN=Joulemark agent"}  # it may be the client's own


class _Users:
    """Who may log in at asyncua's server."""

    def get_user(
        self, _: Any, username: str | None = None, password: str | None = None,
        certificate: Any = None,
    ) -> User | None:  # fmt: skip
        is_known = username is None or PASSWORDS.get(username) == password
        if certificate:
            shown = x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
            is_known = is_known and shown in _KNOWN
        return User(role=UserRole.User) if is_known else None


@dataclass
class Locked:
    """An asyncua server that can change its mind."""

    port: int = 0
    server: Any = None
    loop: Any = None
    refused: list[bytes] = field(default_factory=list)  # certificates of clients

    def look(self, client: x509.Certificate) -> None:
        """Whether that client is taken."""
        if certificates.der(client) in self.refused:
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/plant"

    def present(self, certificate: x509.Certificate, owner: str = "server") -> None:
        """Have another certificate from now on."""
        done = asyncio.run_coroutine_threadsafe(self._present(certificate, owner), self.loop)
        done.result()

    def offer(self, names: Sequence[str]) -> None:
        """Offer these policies with both modes, and none at all; shown at the next `present`."""
        kinds = ua.SecurityPolicyType
        wanted = [f"{name}_{mode}" for name in names for mode in ("Sign", "SignAndEncrypt")]
        self.server.set_security_policy([kinds.NoSecurity, *(kinds[name] for name in wanted)])

    async def _present(self, certificate: x509.Certificate, owner: str) -> None:
        inner = self.server.iserver
        inner.certificate, inner.private_key = certificate, certificates.key(owner)
        inner.endpoints.clear()
        self.server._policies.clear()
        await self.server._setup_server_nodes()


@contextmanager
def locked_plant() -> Iterator[Locked]:
    """A server of all policies, in a thread of its own: it takes seconds to make."""
    with in_a_thread(_serve) as locked:
        yield locked


async def _serve(made: Future[Locked], stop: Event) -> None:
    try:
        locked = Locked(loop=asyncio.get_running_loop())
        users: Any = _Users()
        locked.server = server = Server(user_manager=users)
        await server.init()
        await server.set_application_uri(certificates.PLANT_URI)
        server.set_endpoint("opc.tcp://127.0.0.1:0/plant")
        locked.offer(TYPES)
        server.iserver.certificate = certificates.certificate("server")
        server.iserver.private_key = certificates.key("server")

        async def look(certificate: x509.Certificate, _: Any) -> None:
            locked.look(certificate)

        server.set_certificate_validator(look)
        index = await server.register_namespace(URI)
        node = await server.nodes.objects.add_variable(
            ua.NodeId("temperature", index), "temperature", VALUE
        )
        value = ua.DataValue(ua.Variant(VALUE, ua.VariantType.Double), SourceTimestamp=AT)
        await server.write_attribute_value(node.nodeid, value)
        async with server:
            listener: Any = server.bserver
            locked.port = listener._server.sockets[0].getsockname()[1]
            made.set_result(locked)
            await asyncio.to_thread(stop.wait)
    except Exception as error:
        if made.done():
            raise
        made.set_exception(error)


TYPES = ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")


@contextmanager
def node_server(modules: Path, folder: Path, *trusted: bytes) -> Iterator[str]:
    """The URL of a node-opcua server of all policies.

    Args:
        modules: where node-opcua is installed.
        folder: for what it keeps.
        trusted: the certificates of clients, and of users, that it takes.
    """
    certificate = certificates.certificate("server", hosts=("127.0.0.1",))
    (folder / "server.pem").write_bytes(certificates.pem(certificate))
    (folder / "server_key.pem").write_bytes(certificates.key_pem("server"))
    for pki in ("own", "users"):
        (folder / pki / "trusted" / "certs").mkdir(parents=True)
        for i, blob in enumerate(trusted):
            (folder / pki / "trusted" / "certs" / f"{i}.der").write_bytes(blob)
    settings = {
        "modules": str(modules), "folder": str(folder), "uri": URI, "value": VALUE,
        "application": certificates.PLANT_URI, "passwords": PASSWORDS, "tick_ms": TICK_MS,
    }  # fmt: skip
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            ["node", str(NODE_SCRIPT), json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        ) as process,
    ):  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    yield f"opc.tcp://127.0.0.1:{json.loads(line)['port']}/plant"
                    return
            raise AssertionError((folder / "log").read_text())
        finally:
            process.kill()
