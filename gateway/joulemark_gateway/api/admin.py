"""Users, tokens and the security log; and what was refused of agents. As JSON, and for the pages.

Every change stands in the security log with who made it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.access import passwords
from joulemark_gateway.access.gate import Access, Visit
from joulemark_gateway.access.roles import Role, Scope, role_of
from joulemark_gateway.access.tokens import Token
from joulemark_gateway.access.users import User
from joulemark_gateway.api.doors import needs, visit_of
from joulemark_gateway.api.models import PROBLEMS, Responses
from joulemark_gateway.api.problems import Problem
from joulemark_gateway.api.routes import ID, Here
from joulemark_gateway.api.sources import Sources

MOST_EVENTS = 500
MOST_DAYS = 366  # of a token
_DAY_US = 86_400_000_000
_STATUS = {"no_user": 404, "no_token": 404, "user_exists": 409, "last_admin": 409}
_CHANGES: Responses = {415: PROBLEMS[404]}

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


class Form(BaseModel):
    """What is sent; an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


RoleWord = Literal["viewer", "verifier", "operator", "admin"]
ScopeWord = Literal[
    "series:read", "evidence:read", "reports:read", "metrics:read", "operate", "admin"
]
Name = Annotated[str, Field(pattern=ID)]
Sites = Annotated[
    list[Name] | None, Field(min_length=1, max_length=1000, description="null: all sites")
]
Password = Annotated[
    SecretStr,
    Field(min_length=passwords.LEAST_LENGTH, max_length=passwords.MOST_LENGTH),
]


class Me(BaseModel):
    """Who asks."""

    name: str
    kind: Literal["nobody", "machine", "person", "program"]
    role: RoleWord
    sites: list[str] | None
    scopes: list[ScopeWord] | None = Field(description="of a limited token; null: all of the role")


class UserAnswer(BaseModel):
    """A person who may log in."""

    name: str
    role: RoleWord
    sites: list[str] | None
    made_us: int


class UserChange(Form):
    """Another role, other sites; without a password it stays."""

    role: RoleWord
    sites: Sites
    password: Password | None = None


class NewUser(Form):
    """A person who is to log in."""

    name: Name
    role: RoleWord
    sites: Sites
    password: Password


class UserAnswers(BaseModel):
    """Every user."""

    users: list[UserAnswer]


class TokenAnswer(BaseModel):
    """A program that may ask."""

    id: str
    name: str
    role: RoleWord
    sites: list[str] | None
    made_us: int
    expires_us: int
    seen_us: int | None
    revoked_us: int | None
    scopes: list[ScopeWord] | None


class NewToken(Form):
    """A program that is to ask."""

    name: Name
    role: RoleWord
    sites: Sites
    days: int = Field(ge=1, le=MOST_DAYS)
    scopes: Annotated[
        list[ScopeWord] | None,
        Field(min_length=1, max_length=20, description="what it is limited to; null: nothing"),
    ] = None


class TokenMade(BaseModel):
    """A new token; its text is not shown again."""

    token: TokenAnswer
    text: str


class TokenAnswers(BaseModel):
    """Every token, the newest first."""

    tokens: list[TokenAnswer]


class EventAnswer(BaseModel):
    """One line of the security log."""

    id: int
    t_us: int
    code: str
    refused: bool
    who: str
    address: str
    what: str
    times: int


class EventAnswers(BaseModel):
    """Lines of the security log, the newest first; `next_before` goes on."""

    events: list[EventAnswer]
    next_before: int | None


class RefusedAnswer(BaseModel):
    """How many messages of one agent were refused for one reason."""

    agent: str
    code: str
    messages: int
    kept: int
    last_us: int


class Quarantine(BaseModel):
    """What was refused, by agent and reason."""

    refused: list[RefusedAnswer]


def access_of(request: Request) -> Access:
    """Users, tokens and log of this server."""
    found: Access = request.app.state.access
    return found


Gate = Annotated[Access, Depends(access_of)]
Asker = Annotated[Visit, Depends(visit_of)]
UserName = Annotated[str, Path(pattern=ID, description="name of a user")]
TokenId = Annotated[str, Path(pattern=r"^[0-9a-f]{8}$", description="id of a token")]
Before = Annotated[int | None, Query(ge=0, lt=2**53, description="only lines before this id")]
EventLimit = Annotated[int, Query(ge=1, le=MOST_EVENTS)]


@router.get("/me")
@needs(Role.VIEWER, Scope.ANY)
def get_me(visit: Asker) -> Me:
    """Who asks, in which role, and the sites they see."""
    who = visit.who
    sites, scopes = _listed(who.sites), _scope_words(who.scopes)
    return Me(name=who.name, kind=who.kind, role=_word(who.role), sites=sites, scopes=scopes)


@router.get("/quarantine")
@needs(Role.VERIFIER, Scope.EVIDENCE)
def get_quarantine(here: Here) -> Quarantine:
    """What was refused of the agents of the sites that whoever asks sees, and why."""
    return Quarantine(refused=refused_of(here))


@router.get("/users")
@needs(Role.ADMIN, Scope.ADMIN)
def get_users(gate: Gate) -> UserAnswers:
    """Every user."""
    return UserAnswers(users=[_user(user) for user in gate.users.listed()])


@router.post("/users", status_code=201, responses=_CHANGES)
@needs(Role.ADMIN, Scope.ADMIN)
def post_user(gate: Gate, visit: Asker, user: NewUser) -> UserAnswer:
    """Let a person log in."""
    return add_user(gate, visit, user)


@router.put("/users/{name}", responses=_CHANGES)
@needs(Role.ADMIN, Scope.ADMIN)
def put_user(gate: Gate, visit: Asker, name: UserName, change: UserChange) -> UserAnswer:
    """Give a user another role, other sites or another password; their sessions end."""
    return change_user(gate, visit, name, change)


@router.delete("/users/{name}", status_code=204, responses=_CHANGES)
@needs(Role.ADMIN, Scope.ADMIN)
def delete_user(gate: Gate, visit: Asker, name: UserName) -> None:
    """Let a person log in no more; their sessions end."""
    remove_user(gate, visit, name)


@router.get("/tokens")
@needs(Role.ADMIN, Scope.ADMIN)
def get_tokens(gate: Gate) -> TokenAnswers:
    """Every token, the newest first, revoked ones too."""
    return TokenAnswers(tokens=[_token(token) for token in gate.tokens.listed()])


@router.post("/tokens", status_code=201, responses=_CHANGES)
@needs(Role.ADMIN, Scope.ADMIN)
def post_token(gate: Gate, visit: Asker, token: NewToken) -> TokenMade:
    """Let a program ask; the text of its token is shown this once."""
    return add_token(gate, visit, token)


@router.delete("/tokens/{id}", status_code=204, responses=_CHANGES)
@needs(Role.ADMIN, Scope.ADMIN)
def delete_token(gate: Gate, visit: Asker, id: TokenId) -> None:  # noqa: A002 - as it is called
    """Take a token back from now on."""
    revoke_token(gate, visit, id)


@router.get("/events")
@needs(Role.ADMIN, Scope.ADMIN)
def get_events(gate: Gate, before: Before = None, limit: EventLimit = 100) -> EventAnswers:
    """The security log: log-ins, refusals, and what was changed by whom."""
    rows = [EventAnswer(**vars(event)) for event in gate.events.listed(before, limit)]
    following = rows[-1].id if len(rows) == limit else None
    return EventAnswers(events=rows, next_before=following)


def add_user(gate: Access, visit: Visit, user: NewUser) -> UserAnswer:
    """Add a user; Problem where they are not accepted."""
    role = role_of(user.role)
    with as_problem():
        gate.users.add(user.name, role, user.sites, user.password.get_secret_value(), gate.now_us())
    gate.changed("user_added", visit, _described(user.name, user.role, user.sites))
    return _user_named(gate, user.name)


def change_user(gate: Access, visit: Visit, name: str, change: UserChange) -> UserAnswer:
    """Change a user; Problem where that is not accepted."""
    password = None if change.password is None else change.password.get_secret_value()
    with as_problem():
        if password is not None:  # before anything is changed
            passwords.require_good(password, name)
        gate.users.change(name, role_of(change.role), change.sites)
    gate.changed("user_changed", visit, _described(name, change.role, change.sites))
    if password is not None:
        set_password(gate, visit, name, password)
    return _user_named(gate, name)


def set_password(gate: Access, visit: Visit, name: str, password: str) -> None:
    """Give a user another password; Problem where it is not accepted."""
    with as_problem():
        gate.users.set_password(name, password)
    gate.changed("user_changed", visit, f"{name}, new password")


def remove_user(gate: Access, visit: Visit, name: str) -> None:
    """Remove a user; Problem where there is none, or it is the last admin."""
    with as_problem():
        gate.users.remove(name)
    gate.changed("user_removed", visit, name)


def add_token(gate: Access, visit: Visit, token: NewToken) -> TokenMade:
    """Make a token; Problem where it is not accepted."""
    now_us = gate.now_us()
    with as_problem():
        made, text = gate.tokens.add(
            token.name,
            role_of(token.role),
            token.sites,
            now_us,
            now_us + token.days * _DAY_US,
            scopes=token.scopes,
        )
    what = f"{_described(f'{made.name} ({made.id})', token.role, token.sites)}, {token.days} days"
    what += f", only {' '.join(sorted(token.scopes))}" if token.scopes else ""
    gate.changed("token_added", visit, what)
    return TokenMade(token=_token(made), text=text)


def revoke_token(gate: Access, visit: Visit, id_: str) -> None:
    """Revoke a token; Problem where there is none."""
    with as_problem():
        found = gate.tokens.revoke(id_, gate.now_us())
    gate.changed("token_revoked", visit, f"{found.name} ({found.id})")


def refused_of(here: Sources) -> list[RefusedAnswer]:
    """What was refused of the agents that whoever asks sees; of strangers only who sees all."""
    with here.store() as store:
        rows = store.quarantined()
    who, agents = here.who, here.agents
    return [
        RefusedAnswer(**vars(row))
        for row in rows
        if (who.sees(agents[row.agent]) if row.agent in agents else who.sites is None)
    ]


@contextmanager
def as_problem() -> Iterator[None]:
    """What a person gave wrongly, as an answer."""
    try:
        yield
    except ConfigError as error:
        raise Problem(_STATUS.get(error.code, 422), error.code, error.what, error.do) from error


def _described(name: str, role: str, sites: Sequence[str] | None) -> str:
    return f"{name}, {role}, {'all sites' if sites is None else ' '.join(sorted(sites))}"


def _user_named(gate: Access, name: str) -> UserAnswer:
    found = gate.users.find(name)
    if found is None:  # taken away meanwhile
        raise Problem(404, "no_user", f"There is no user {name!r}.", "List the users.")
    return _user(found)


def _user(user: User) -> UserAnswer:
    return UserAnswer(
        name=user.name, role=_word(user.role), sites=_listed(user.sites), made_us=user.made_us
    )


def _token(token: Token) -> TokenAnswer:
    fields = vars(token) | {"role": _word(token.role), "sites": _listed(token.sites)}
    return TokenAnswer(**fields | {"scopes": _scope_words(token.scopes)})


def _scope_words(scopes: frozenset[Scope] | None) -> Any:
    """Their names, of `ScopeWord`."""
    return None if scopes is None else sorted(scope.value for scope in scopes)


def _word(role: Role) -> Any:
    """The role's name, one of `RoleWord`."""
    return role.word


def _listed(sites: frozenset[str] | None) -> list[str] | None:
    return None if sites is None else sorted(sites)
