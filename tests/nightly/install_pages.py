"""Every command of the pages that install and upgrade, run in a throw-away root over Debian.

The blocks marked `sh` of docs/install_raspberry_pi.md, install_industrial_pc.md, backup.md and
upgrade.md are run as they stand, one after the other, as root, with the pages' own folders and
users; the root lies over this machine's own (overlayfs) and is gone in the end. `apt-get` and
`systemctl` are written down and not run: nothing there is the first process. In place of the
latter, the commands of the units that it would start are run as the units say, until the log says
that they serve.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.roots import BASE, throw_away_root

ROOT = Path(__file__).parents[2]
PARTS = ("agent", "gateway", "configs", "deploy", "pyproject.toml", "README.md", "LICENSE")
NOT_RUN = ("apt-get", "systemctl")
SOURCE = "usr/local/src/joulemark"
WAIT_S = 180.0
PATH = f"{BASE}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(seed: int, *, full: bool) -> dict[str, str]:
    """All four pages; there is no shorter form."""
    del seed, full
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="joulemark-pages-") as name:
        with throw_away_root(Path(name) / "pi") as root:
            pi = Machine(root)
            found |= pi.page("install_raspberry_pi")
        with throw_away_root(Path(name) / "pc") as root:
            pc = Machine(root)
            found |= pc.page("install_industrial_pc")
            found["units of the PC, their commands run"] = _served(pc)
            found |= pc.page("backup")
            found["the collector after its copy was put back"] = _served(pc)
            found |= pc.page("upgrade")
            found["the collector after the way back"] = _served(pc)
    return found


@dataclass
class Machine:
    """A throw-away root with this repository where the pages want it."""

    root: Path
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        source = self.root / SOURCE
        source.mkdir(parents=True)
        for part in PARTS:
            path = ROOT / part
            if path.is_dir():
                shutil.copytree(path, source / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, source / part)
        for place in ("opt/joulemark", "var/lib/joulemark", "etc/joulemark"):
            shutil.rmtree(self.root / place, ignore_errors=True)
        stubs = self.root / "opt/stubs"
        stubs.mkdir(parents=True)
        for name in NOT_RUN:
            (stubs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> /opt/stubs/said\n')
            (stubs / name).chmod(0o755)

    def page(self, name: str) -> dict[str, str]:
        """Run the commands of a page."""
        blocks = commands(name)
        for block in blocks:
            self.run(block)
        said = self.root / "opt/stubs/said"
        left = said.read_text().splitlines() if said.exists() else []
        said.unlink(missing_ok=True)
        self._check(left)
        count = sum(len(block.splitlines()) for block in blocks)
        return {f"{name}.md: commands run, written down only": f"{count - len(left)}, {len(left)}"}

    def run(self, script: str) -> str:
        """What a script says; AssertionError where it fails."""
        done = subprocess.run(
            ["chroot", str(self.root), "/bin/sh", "-eu", "-c", script],
            env={"PATH": f"/opt/stubs:{PATH}", "HOME": "/root"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (script, done.stdout[-2000:], done.stderr[-3000:])
        return done.stdout

    def _check(self, left: Sequence[str]) -> None:
        """What systemctl is asked to start is there."""
        for line in left:
            words = line.split()
            if words[0] != "systemctl" or words[1] not in {"enable", "start", "stop", "status"}:
                continue
            for unit in (word for word in words[2:] if word.startswith("joulemark")):
                file = unit if "." in unit else f"{unit}.service"
                assert (self.root / "etc/systemd/system" / file).exists(), line

    def unit(self, name: str) -> tuple[str, dict[str, str], str, str]:
        """User, environment, folder and command of a unit that was installed."""
        text = (self.root / f"etc/systemd/system/{name}.service").read_text()
        given = dict(
            line.split("=", 1) for line in re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
        )
        (user,) = re.findall(r"^User=(.*)$", text, re.MULTILINE)
        (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        folder = (re.findall(r"^WorkingDirectory=(.*)$", text, re.MULTILINE) or ["/"])[0]
        return user, given, folder, command

    @contextmanager
    def service(self, name: str, says: str = "") -> Iterator[None]:
        """A unit's command, as its user, from when the log says this; ended in order."""
        user, given, folder, command = self.unit(name)
        log = self.root / f"tmp/{name}.log"
        words = ["chroot", str(self.root), "/usr/sbin/runuser", "-u", user, "--",
                 "/bin/sh", "-c", f"cd {shlex.quote(folder)} && exec {command}"]  # fmt: skip
        with log.open("wb") as file:
            process = subprocess.Popen(
                words, env={"PATH": PATH, **given}, stdout=file, stderr=file, start_new_session=True
            )
        try:
            until_s = time.monotonic() + WAIT_S
            while says not in log.read_text():
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < until_s, log.read_text()[-3000:]
                time.sleep(0.1)
            yield
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)  # runuser passes it on
            code = process.wait(60)
        assert code in {0, -signal.SIGTERM, 128 + signal.SIGTERM}, (code, log.read_text()[-2000:])


def commands(name: str) -> list[str]:
    """The blocks of a page that are to be run."""
    text = (ROOT / f"docs/{name}.md").read_text("utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _served(pc: Machine) -> str:
    with (
        pc.service("joulemark-mosquitto"),  # of how it starts its file has it say nothing
        pc.service("joulemark-collector", "broker_connected"),
    ):
        pass
    pc.run(" ".join(["runuser", "-u", "joulemark-collector", "--",
                     pc.unit("joulemark-collector-backup")[3]]))  # fmt: skip
    return "broker and collector serve, a copy is made"
