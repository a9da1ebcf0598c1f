"""The HTTP side of a witness: one call, `POST /add-checkpoint`, and nothing to read."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from time import time
from typing import Any

from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_gateway.pki.contexts import server_context
from joulemark_gateway.stopping import asked_to_stop
from joulemark_gateway.web.listener import Listener
from joulemark_gateway.witness.cosigner import Answer, Cosigner
from joulemark_gateway.witness.exchange import BAD_REQUEST, MOST_BYTES, NOT_FOUND, PATH
from joulemark_gateway.witness.settings import WitnessFile
from joulemark_gateway.witness.store import FILE, WitnessStore

_METHOD_NOT_ALLOWED, _TOO_LARGE, _UNAVAILABLE = 405, 413, 503
_CONNECTIONS = 64
Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

log = logging.getLogger(__name__)


def run(settings: WitnessFile) -> None:
    """Cosign until SIGTERM or Ctrl-C.

    Raises:
        JoulemarkError: the key, the memory or the address cannot be used.
    """
    with asked_to_stop() as stop, WitnessStore(settings.state_dir / FILE) as store:
        cosigner = Cosigner(store, settings.identity(), lambda: int(time()))
        fields = {"witness": settings.name, "key": settings.key().fingerprint}
        log.info("witness_started", extra=fields)
        listener = listen(settings, cosigner)
        try:
            stop.wait()
        finally:
            listener.stop()
    log.info("witness_stopped")


def listen(settings: WitnessFile, cosigner: Cosigner) -> Listener:
    """Serve from a thread of its own.

    Raises:
        ConfigError: the address or the certificate cannot be used.
    """
    tls = None
    try:
        if settings.tls is not None:
            tls = server_context(settings.tls.certificate, settings.tls.key)
        return Listener(
            "witness", lambda: application(cosigner), settings.host, settings.port, tls=tls,
            connections=_CONNECTIONS,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(
            f"The witness cannot listen on {settings.host}:{settings.port}: {error}.",
            "Set another host or port in the witness's file.",
        ) from error


def application(cosigner: Cosigner) -> Application:
    """The ASGI application of a witness."""

    async def serve(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        answer = await _answered(cosigner, scope, receive)
        body = answer.body.encode()
        headers = [
            (b"content-type", answer.kind.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return serve


async def _answered(
    cosigner: Cosigner, scope: Message, receive: Callable[[], Awaitable[Message]]
) -> Answer:
    if scope["path"] != PATH:
        return Answer(NOT_FOUND, "There is only /add-checkpoint here.\n")
    if scope["method"] != "POST":
        return Answer(_METHOD_NOT_ALLOWED, "Send it with POST.\n")
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return Answer(BAD_REQUEST, "The request ended early.\n")
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return Answer(_TOO_LARGE, f"A request has at most {MOST_BYTES} bytes.\n")
        if not message.get("more_body"):
            break
    try:
        return cosigner.answer(body)
    except StoreError as error:
        fields = {"code": error.code, "what": error.what, "do": error.do}
        log.error("witness_store_down", extra=fields)  # noqa: TRY400 - said in full
        return Answer(_UNAVAILABLE, "The witness cannot remember anything now; try again later.\n")
