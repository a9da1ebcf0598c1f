"""Reports in an object store: put there by who makes one, copied by every collector that shows it.

The files are objects, and one named file says which of them are the report. It is put last and
replaced as a whole, so whoever reads it finds the files of one report, all of them there.

| at the address | what |
|---|---|
| `report.files.json` | `{"files": {NAME: SHA-256}, "v": 1}`, canonical |
| `files/` | the objects; those of former reports stay |

A collector copies them into `state_dir/report-copies`, compared with their digests, and shows the
copy as it shows any folder: no request waits for the store, and where that is away the last copy is
shown.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError, JoulemarkError, StoreError
from joulemark_agent.files import flush_folder, replace_file
from joulemark_gateway.evidence.blocks import MARK
from joulemark_gateway.evidence.settings import open_objects

if TYPE_CHECKING:
    from joulemark_gateway.evidence.objects import Objects  # extra [objects]

LIST, KIND = "report.files.json", "files"
FOLDER = "report-copies"  # in state_dir
EVERY_S = 10.0
ANSWER_S = 600.0  # a bundle over a slow line; nobody waits for it
_NAME = re.compile(r"[a-z][a-z0-9.]{0,39}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger(__name__)


def open_place(url: str) -> Objects:
    """Where reports are put; nothing is read or written yet. Errors as `open_objects`."""
    return open_objects(url, folder=KIND, answer_s=ANSWER_S)


def publish(objects: Objects, files: Mapping[str, bytes]) -> None:
    """Put the files of a report in the place of those of the one before.

    Raises:
        StoreError: they are not; the report of before is still there.
    """
    digests = {name: objects.put(data).removeprefix(MARK).decode() for name, data in files.items()}
    objects.replace(LIST, canonical_bytes({"files": digests, "v": 1}))


def copy(objects: Objects, folder: Path) -> bool:
    """Have the files of the report at this address in a folder, all of them or those of before.

    The folder is a link to one that never changes: who reads there finds one report or the other.

    Args:
        objects: where the report is.
        folder: what is beside it with its name and a dot in front is this function's.

    Returns:
        whether there was a new report.

    Raises:
        StoreError: what is there cannot be had, or not be written here; the folder is as it was.
    """
    data = objects.read(LIST)
    if data is None:
        raise StoreError(
            f"There is no report at {objects.url}.",
            f"Run 'joulemark report PROJECT.yaml --out {objects.url}', or correct 'projects'.",
            code="no_report",
        )
    wanted = folder.with_name(f"{folder.name}.{hashlib.sha256(data).hexdigest()[:32]}")
    if folder.is_symlink() and folder.resolve() == wanted.resolve():
        return False
    try:
        for name, digest in _listed(data, objects.url).items():
            replace_file(wanted / name, objects.get(MARK + digest.encode()))
        link = folder.with_name(f"{folder.name}.link")
        link.unlink(missing_ok=True)
        link.symlink_to(wanted.name)
        link.replace(folder)
        flush_folder(folder.parent)
    except OSError as error:
        raise StoreError(
            f"The report at {objects.url} cannot be copied to {folder}: {error.strerror}.",
            "Check who may write there, and the free space.",
            code="store_io",
        ) from error
    for old in folder.parent.glob(f"{folder.name}.*"):
        if old != wanted:
            shutil.rmtree(old, ignore_errors=True)
    return True


def _listed(data: bytes, url: str) -> dict[str, str]:
    """The digests of the files by name, as the list of a report says them."""
    try:
        match parse_canonical(data):
            case {"v": 1, "files": dict() as files}:
                if all(
                    _NAME.fullmatch(name) and isinstance(digest, str) and _DIGEST.fullmatch(digest)
                    for name, digest in files.items()
                ):
                    return files
    except EvidenceError:
        pass
    raise StoreError(
        f"{LIST} at {url} is no list of the files of a report.",
        f"Make the report again with 'joulemark report PROJECT.yaml --out {url}'.",
        code="no_report",
    )


class Copies:
    """The copies of the reports at some addresses; one thread makes them, every request reads."""

    def __init__(
        self,
        urls: Sequence[str],
        state_dir: Path,
        open_at: Callable[[str], Objects] = open_place,
    ) -> None:
        """Nothing is read yet; what was copied before is shown.

        Args:
            urls: of the reports.
            state_dir: of the collector.
            open_at: what is at an address.

        Raises:
            JoulemarkError: there is no such kind of store here.
        """
        names = {url: hashlib.sha256(url.encode()).hexdigest()[:16] for url in urls}
        self._places = {url: (open_at(url), state_dir / FOLDER / names[url]) for url in urls}
        self._troubles: dict[str, JoulemarkError] = {}

    @property
    def folders(self) -> list[Path]:
        """Those that hold a report."""
        return [folder for _, folder in self._places.values() if folder.exists()]

    @property
    def troubles(self) -> list[JoulemarkError]:
        """What is wrong at some of the addresses now; where there is a copy, it is shown."""
        return list(self._troubles.copy().values())

    def turn(self, stop: threading.Event) -> None:
        """Look at every address for a new report, each on its own."""
        for url, (objects, folder) in self._places.items():
            if stop.is_set():
                return
            try:
                if copy(objects, folder):
                    log.info("report_copied", extra={"url": url})
            except JoulemarkError as error:
                if url not in self._troubles:
                    fields = {"code": error.code, "what": error.what, "do": error.do}
                    log.error("report_not_copied", extra=fields)  # noqa: TRY400 - said in full
                self._troubles[url] = error
            else:
                self._troubles.pop(url, None)
