"""The files of a project's report: listed with their digests, and handed out whole or in part.

The digest is of the bytes that are sent: both are read from one open file, so a report that is
made anew meanwhile is never mixed with the one before. Source: RFC 9110, sections 8.8, 13 and 14;
RFC 9530 for `Repr-Digest`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Generator, Mapping
from functools import lru_cache

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.api import answers, models, projects
from joulemark_gateway.api.doors import needs
from joulemark_gateway.api.models import PROBLEMS, Responses
from joulemark_gateway.api.problems import Problem, unknown
from joulemark_gateway.api.routes import Here, ProjectId
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.api.streamed import Streamed

_PIECE = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_BYTES: Responses = {
    200: {
        "description": "The file, with `ETag`, `Repr-Digest` (SHA-256) and `Accept-Ranges`.",
        "content": {
            kind: {
                "schema": {} if kind.endswith("json") else {"type": "string", "format": "binary"}
            }
            for kind in (media.partition(";")[0] for media in projects.FILES.values())
        },
    },
    206: {"description": "The part that `Range` names."},
    304: {"description": "It is the one that `If-None-Match` names."},
    416: PROBLEMS[404],
}
FileName = Path(max_length=80, description="of the list")

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


@router.get("/projects/{project}/files")
@needs(Role.VIEWER, Scope.REPORTS)
def get_files(here: Here, project: ProjectId) -> models.ProjectFiles:
    """The files of a project's report with their SHA-256; those of evidence for who may read it."""
    found = answers.project(here, project)
    rows = []
    for name in found.files:
        if name in projects.EVIDENCE and not here.who.may(Role.VERIFIER):
            continue
        descriptor = _opened(found, name)
        try:
            size, digest = _digest(descriptor)
        finally:
            os.close(descriptor)
        rows.append(
            models.ProjectFile(
                name=name,
                media_type=projects.FILES[name],
                bytes=size,
                sha256=digest.hex(),
                role="verifier" if name in projects.EVIDENCE else "viewer",
                url=f"/api/v1/projects/{project}/files/{name}",
            )
        )
    return models.ProjectFiles(project=project, files=rows)


@router.get("/projects/{project}/files/{name}", responses=_BYTES, response_class=Response)
@needs(Role.VIEWER, Scope.REPORTS)
def get_file(request: Request, here: Here, project: ProjectId, name: str = FileName) -> Response:
    """One of the files of a report, whole or a part; a bundle takes the role of a verifier."""
    return handed_out(request, here, project, name, is_shown=False)


def handed_out(
    request: Request, here: Sources, project: str, name: str, *, is_shown: bool
) -> Response:
    """The file as an answer.

    Args:
        request: with `Range`, `If-Range`, `If-None-Match`.
        here: where from, and who asks.
        project: id.
        name: of the file.
        is_shown: a browser may show it; else it is to be saved.

    Raises:
        Problem: there is no such file, it is not for who asks, or it has no such part.
    """
    found = answers.project(here, project)
    if name not in found.files or name not in projects.FILES:
        raise unknown("file", name)
    if name in projects.EVIDENCE and not here.who.may(Role.VERIFIER):
        raise Problem(
            403,
            "role_too_small",
            f"{name} is evidence and takes the role 'verifier'; this is {here.who.role.word!r}.",
            "Ask an admin for the role, or somebody who has it.",
        )
    descriptor = _opened(found, name)
    try:
        size, digest = _digest(descriptor)
        tag = f'"{digest.hex()}"'
        headers = {
            "ETag": tag,
            "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
            "Accept-Ranges": "bytes",
        }
        if not is_shown:
            headers["Content-Disposition"] = f'attachment; filename="{project}-{name}"'
        given = request.headers
        if _names(given.get("if-none-match", ""), tag):
            os.close(descriptor)
            return Response(status_code=304, headers=headers)
        is_head = request.scope["state"].get("is_head")  # of it no part is asked: RFC 9110, 14.2
        part = None if is_head else _part(given, tag, size)
    except BaseException:
        os.close(descriptor)
        raise
    start, end = part or (0, size)
    headers["Content-Length"] = str(end - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    pieces = _pieces(descriptor, start, end)
    next(pieces)  # from here on it closes the file, whatever happens
    status = 200 if part is None else 206
    return Streamed(pieces, status, headers, projects.FILES[name])


def _opened(found: projects.Project, name: str) -> int:
    """The file, open; Problem where it has gone."""
    try:
        descriptor = os.open(found.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise unknown("file", name) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise unknown("file", name)
    return descriptor


def _digest(descriptor: int) -> tuple[int, bytes]:
    """Size and SHA-256 of an open file; of one that has not changed they are remembered."""
    status = os.fstat(descriptor)
    key = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    return status.st_size, _remembered(_Opened(key, descriptor))


class _Opened:
    """A file by what the system says of it; the descriptor is no part of that."""

    def __init__(self, key: tuple[int, ...], descriptor: int) -> None:
        self.key, self.descriptor = key, descriptor

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opened) and self.key == other.key


@lru_cache(maxsize=256)
def _remembered(opened: _Opened) -> bytes:
    made, at, size = hashlib.sha256(), 0, opened.key[-1]
    while at < size:
        piece = os.pread(opened.descriptor, min(_PIECE, size - at), at)
        if not piece:
            raise _changed()
        made.update(piece)
        at += len(piece)
    return made.digest()


def _pieces(descriptor: int, start: int, end: int) -> Generator[bytes]:
    """The bytes of a part; the first piece is empty."""
    try:
        yield b""
        while start < end:
            piece = os.pread(descriptor, min(_PIECE, end - start), start)
            if not piece:
                raise _changed()
            yield piece
            start += len(piece)
    finally:
        os.close(descriptor)


def _changed() -> StoreError:
    return StoreError(
        "The file has become shorter while it was read.", "Ask again.", code="file_changed"
    )


def _names(header: str, tag: str) -> bool:
    """Whether a list of entity tags has this one, weakly compared."""
    if header.strip() == "*":
        return True
    return tag in {one.strip().removeprefix("W/") for one in header.split(",")}


def _part(headers: Mapping[str, str], tag: str, size: int) -> tuple[int, int] | None:
    """The bytes asked for: the first, and the one after the last; None: all.

    A range that is none, or several, may be passed over: RFC 9110, section 14.2.

    Raises:
        Problem: `no_such_range`.
    """
    if (condition := headers.get("if-range")) is not None and condition.strip() != tag:
        return None
    match = _RANGE.fullmatch(headers.get("range", "").strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(size - int(match[2]), 0), size
    else:
        start, end = int(match[1]), size
        if match[2] != "":
            if int(match[2]) < start:
                return None
            end = min(int(match[2]) + 1, size)
    if start >= end:
        raise Problem(
            416,
            "no_such_range",
            f"The file has {size} bytes; {headers.get('range', '')!r:.60} was asked for.",
            "Ask for a part inside of it, or without 'Range' for the whole.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end
