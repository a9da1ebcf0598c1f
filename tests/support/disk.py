"""Disks of their own: small enough to fill, or with a power that can be cut."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.needed import lacking, service

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN: _IOR('X', 125, __u32)
_WITHOUT_JOURNAL = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH: what is in memory only is gone


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """The folder as a disk of its own of this size."""
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class PoweredDisk:
    """A real ext4 in a file: when its power is cut, what was not yet in its journal is gone."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder, self._image = folder, image

    def cut(self) -> None:
        """Take no more writes from now on: what `xfs_io -x -c shutdown` does, without its start.

        What a program is told between this instant and its end counts for nothing: with the power
        gone nobody would have heard it.
        """
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_JOURNAL))
        finally:
            os.close(descriptor)

    def restore(self) -> None:
        """Mount what was on the disk, as after a start; nobody may have a file open."""
        subprocess.run(["umount", str(self.folder)], check=True)
        self.mount()

    def mount(self) -> None:
        """As at a start."""
        _mount("-o", "loop", str(self._image), str(self.folder))


@contextmanager
def powered(folder: Path, size_mb: int = 256) -> Iterator[PoweredDisk]:
    """A disk at `folder/disk`."""
    make, image = service("mkfs.ext4", "e2fsprogs"), folder / "disk.img"
    with image.open("wb") as file:
        os.truncate(file.fileno(), size_mb << 20)
    subprocess.run([make, "-q", "-F", str(image)], check=True, capture_output=True)
    (folder / "disk").mkdir()
    disk = PoweredDisk(folder / "disk", image)
    # `ip netns exec` beside us copies all mounts; what is unmounted here has to be so there too,
    # or the disk without power lives on in the copy and is what the next mount finds.
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("--make-shared", str(folder))
        disk.mount()
        yield disk
    finally:
        subprocess.run(["umount", "-l", "-R", str(folder)], check=False)


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lacking(f"mounting needs CAP_SYS_ADMIN, and loop devices for an image: {done.stderr}")
