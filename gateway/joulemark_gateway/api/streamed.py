"""An answer in pieces that lets go of what it holds, also where whoever asked has gone."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Streamed(StreamingResponse):
    """Pieces of a generator, which is closed at the end of the answer, not when it is collected."""

    def __init__(
        self,
        pieces: Generator[bytes],
        status: int,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        """Nothing is sent yet.

        Args:
            pieces: run in threads, one at a time.
            status: of the answer.
            headers: of the answer.
            media_type: of the pieces together.
        """
        super().__init__(pieces, status, headers, media_type)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pieces.close()
