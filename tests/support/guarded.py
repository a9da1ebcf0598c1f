"""Pages behind log-in: a user and a token of each role, over a filled state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from httpx import ASGITransport, AsyncClient

from joulemark_agent.contract.signature import encode64, public_key
from joulemark_gateway.access.gate import Access, open_access
from joulemark_gateway.access.roles import GIVEN, Role
from joulemark_gateway.access.settings import PagesSettings
from joulemark_gateway.settings import CollectorSettings
from joulemark_gateway.web.application import application
from joulemark_gateway.web.guard import Guard
from joulemark_gateway.web.server import PagesServer
from support.evidence import AGENT, COUNTER, KEYS, METER, SITE, WITNESS
from support.pages import COMPRESSOR, FREE, State

PASSWORD = "rusty bucket seven cranes"
OTHER = "another-plant"  # a site nobody here has evidence of
WITH_LOGIN = PagesSettings(limits=FREE)
DEVICES = (METER, COUNTER, COMPRESSOR)
_FAR_US = 4_000_000_000_000_000


def collector_of(folder: Path, devices: tuple[str, ...] = DEVICES) -> CollectorSettings:
    """The settings of a collector that keeps its state in a folder, with one agent."""
    agent, operator = (encode64(public_key(key)) for key in (KEYS.agent, KEYS.operator))
    row = {"agent": AGENT, "site": SITE, "key": agent, "devices": list(devices)}
    return CollectorSettings.model_validate(
        {"name": WITNESS, "state_dir": folder, "agents": [row], "operators": [operator]}
    )


@dataclass(frozen=True)
class Let:
    """Who is let in: a user `ROLE` and a token of each role, of the site or of all."""

    access: Access
    tokens: Mapping[Role, str]
    foreign: str  # a verifier's token for another site

    def header(self, role: Role | None) -> dict[str, str]:
        """What a program of this role sends; of none, nothing."""
        return {} if role is None else {"Authorization": f"Bearer {self.tokens[role]}"}


def let_in(folder: Path, wanted: PagesSettings = WITH_LOGIN) -> Let:
    """A gate with everybody behind it."""
    access = open_access(folder, wanted)
    tokens: dict[Role, str] = {}
    for role in GIVEN:
        sites = None if role is Role.ADMIN else [SITE]
        _, tokens[role] = access.tokens.add(f"program-{role.word}", role, sites, 0, _FAR_US)
    _, foreign = access.tokens.add("program-foreign", Role.VERIFIER, [OTHER], 0, _FAR_US)
    return Let(access, tokens, foreign)


def add_users(access: Access, *roles: Role) -> None:
    """A user of each of these roles, named like it, with the one password."""
    for role in roles:
        sites = None if role is Role.ADMIN else [SITE]
        access.users.add(role.word, role, sites, PASSWORD, access.now_us())


@contextmanager
def guarded(
    state: State, folder: Path, wanted: PagesSettings = WITH_LOGIN, **changes: Any
) -> Iterator[tuple[Let, Guard]]:
    """The application over a state, with everybody let in from files in a folder of their own."""
    let = let_in(folder, wanted)
    with let.access, state.sources(**changes) as sources:
        yield let, application(sources, let.access)


@contextmanager
def serving(
    state: State, folder: Path, wanted: PagesSettings = WITH_LOGIN, **changes: Any
) -> Iterator[tuple[Let, str]]:
    """The same behind a real socket; and its address."""
    let = let_in(folder, wanted)
    with state.sources(**changes) as sources:
        server = PagesServer(sources, let.access, port=0)
        try:
            yield let, server.url.rstrip("/")
        finally:
            server.stop()


def browser_of(
    app: Guard, address: str = "127.0.0.1", base: str = "http://127.0.0.1:8080"
) -> AsyncClient:
    """A client that keeps its cookies, from an address."""
    transport = ASGITransport(app, raise_app_exceptions=False, client=(address, 50_000))
    return AsyncClient(transport=transport, base_url=base)


async def log_in(client: AsyncClient, name: str, password: str = PASSWORD) -> str:
    """Log in as a person does; what their pages' forms carry from then on."""
    answer = await client.post("/login", data={"name": name, "password": password})
    assert answer.status_code == 303, answer.text
    page = await client.get("/account")
    return page.text.partition('name="csrf" value="')[2].partition('"')[0]
