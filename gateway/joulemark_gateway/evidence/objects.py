"""What stands outside of the ledger: files of a folder, or objects of a store (`fsspec`).

An object is named by the SHA-256 of its bytes and never changed or deleted. It is written, flushed
where it is a file, read back and compared before anything refers to it; who reads it later compares
it again. What was written by somebody who was killed before that is found there by the next who
writes the same bytes.

| folder | its objects | what refers to them |
|---|---|---|
| `blocks` | blocks of old batches | rows of the ledger: `sha256:` and the name |
| `files` | files of reports | a named file, put last, replaced as a whole (`reports.stored`) |

A block that stands in its row begins with other bytes than `sha256:`, as XZ does.

StoreError codes: `objects_away`, the store itself; `object_lost`, this object alone.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.files import flush_folder, replace_file
from joulemark_gateway.evidence.blocks import AWAY, LOST, MARK

ANSWER_S = 60.0  # less than the watchdog gives whoever takes messages; s3fs tries for many minutes
T = TypeVar("T")


class Objects:
    """The objects below one address; a store that hangs is away for those who ask it."""

    def __init__(self, url: str, folder: str = "blocks", answer_s: float = ANSWER_S) -> None:
        """Nothing is read or written yet.

        Args:
            url: as fsspec takes it: a folder, `s3://bucket/folder`, `memory://folder`.
            folder: below it, of one kind of objects.
            answer_s: in which the store answers a call.

        Raises:
            StoreError: there is no such kind of store here.
        """
        self.url, self._answer_s = url, answer_s
        self._hanging: list[threading.Thread] = []  # calls that were given up
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"Objects cannot be kept at {url}: {error}.",
                "Install the package that fsspec names (for s3:// it is s3fs), or name a folder.",
                code=AWAY,
            ) from error
        self._root = self._root.rstrip("/")
        self._folder = f"{self._root}/{folder}"
        self._is_local = "file" in _protocols(self._files)

    def put(self, data: bytes) -> bytes:
        """Keep the bytes; what stands in the ledger instead of them.

        Raises:
            StoreError: they cannot be written, or do not come back as they were.
        """
        name = hashlib.sha256(data).hexdigest()
        path = self._path(name)
        try:
            found = b""
            with suppress(FileNotFoundError):
                found = self._answered(lambda: self._files.cat_file(path))
            if found != data:
                self._answered(lambda: self._write(path, data))
                found = self._answered(lambda: self._files.cat_file(path))
            if self._is_local:  # it, and each folder that was made for it
                for folder in list(Path(path).parents)[:4]:
                    with suppress(PermissionError):  # then it was not made here
                        flush_folder(folder)
        except Exception as error:  # each kind of store has errors of its own
            raise self._away(error) from error
        if found != data:
            raise self._away(ValueError(f"{name} does not come back as it was written"))
        return MARK + name.encode()

    def get(self, mark: bytes) -> bytes:
        """The bytes that a mark stands for.

        Raises:
            StoreError: `object_lost`: they are other bytes, or there are none; or the store does
                not answer.
        """
        name = mark.removeprefix(MARK).decode("ascii", "replace")
        try:
            data = bytes(self._answered(lambda: self._files.cat_file(self._path(name))))
        except FileNotFoundError as error:
            if self._is_local and not Path(self._folder).is_dir():
                raise self._away(error) from error  # the disk of the folder is not there
            raise _lost(f"{name} is not at {self.url}") from error
        except Exception as error:
            raise self._away(error) from error
        if hashlib.sha256(data).hexdigest() != name:
            raise _lost(f"{name} at {self.url} holds other bytes")
        return data

    def replace(self, name: str, data: bytes) -> None:
        """Put a named file beside the objects that it refers to, in the place of what was there.

        Raises:
            StoreError: it cannot be written, or does not come back as it was.
        """
        path = f"{self._root}/{name}"
        try:
            self._answered(lambda: self._write(path, data))
            found = self._answered(lambda: self._files.cat_file(path))
        except Exception as error:  # each kind of store has errors of its own
            raise self._away(error) from error
        if found != data:
            raise self._away(ValueError(f"{name} does not come back as it was written"))

    def read(self, name: str) -> bytes | None:
        """A named file; None where there is none.

        Raises:
            StoreError: the store does not answer.
        """
        try:
            return bytes(self._answered(lambda: self._files.cat_file(f"{self._root}/{name}")))
        except FileNotFoundError as error:
            if self._is_local and not Path(self._root).is_dir():
                raise self._away(error) from error
            return None
        except Exception as error:
            raise self._away(error) from error

    def _answered(self, call: Callable[[], T]) -> T:
        """What a call gives.

        One that hangs is left to a thread that nobody waits for; until it has ended nobody asks.

        Raises:
            TimeoutError: it hangs, or one before does.
            BaseException: what it raises.
        """
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if self._hanging:
            raise TimeoutError("a call of before has not been answered yet")
        given: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                given.append(call())
            except BaseException as error:  # noqa: BLE001 - raised below, whatever it is
                raised.append(error)

        thread = threading.Thread(target=run, name="objects", daemon=True)
        thread.start()
        thread.join(self._answer_s)
        if raised:
            raise raised[0]
        if not given:
            self._hanging.append(thread)
            raise TimeoutError(f"no answer in {self._answer_s:g} s")
        return given[0]

    def _write(self, path: str, data: bytes) -> None:
        if self._is_local:
            replace_file(Path(path), data)
        else:
            self._files.pipe_file(path, data)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name[:2]}/{name}"

    def _away(self, error: Exception) -> StoreError:
        return StoreError(
            f"The objects at {self.url}: {error}.",
            "Check the address, the access and the room there; all else is unchanged.",
            code=AWAY,
        )


def _protocols(files: Any) -> tuple[str, ...]:
    known = files.protocol
    return (known,) if isinstance(known, str) else tuple(known)


def _lost(what: str) -> StoreError:
    return StoreError(
        f"The object {what}.",
        "Bring it back from a copy of the objects; what does not need it goes on.",
        code=LOST,
    )
