"""The agent is killed while it is given a new key: one key goes on, in every tree.

Again and again a running agent is asked for a new key and killed some milliseconds later. What the
outbox holds in the end is read as a verifier would: every leaf in its place, every change of key
signed by both keys, every head by the key of its place, and no private key left but the last.
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, closing
from pathlib import Path

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.rotation import key_at, keys_of, rotations_in
from joulemark_agent.contract.signature import decode64, encode64, is_log_signed
from joulemark_agent.documents import load_profile
from joulemark_agent.foundation import OUTBOX
from joulemark_agent.keys import AGENT_KEY, Key, load_key
from joulemark_agent.outbox import Outbox, Tree
from joulemark_agent.rotation import former_keys, is_waiting, request_rotation
from nightly.reload import Unit, _renewed, enroll, site_text
from nightly.reload_killed import judged
from nightly.wrong_profile import serving
from support.child import search_path
from support.modbus_machine import Machine
from support.recording import batches_of, kept

ROUNDS, FEW = 60, 2
LATEST_S = 1.6  # after the request; the agent looks for a new key once a second


async def asked_and_killed(folder: Path, rounds: int, draw: random.Random) -> list[Key]:
    """Run, ask for a new key, kill; every key that was made."""
    machine, path = Unit(), folder / "site.yaml"
    keys: list[Key] = []
    machine.show(Machine(load_profile("virtual_main_meter")[0]).words(0))
    async with AsyncExitStack() as stack:
        lines = ("steady", "shared", "coming", "renewed")
        ports = {line: await stack.enter_async_context(serving(machine)) for line in lines}
        urls = {line: f"modbus-tcp://127.0.0.1:{port}" for line, port in ports.items()}
        path.write_text(site_text(urls, 1, _renewed(folder, 0)), "utf-8")
        await asyncio.to_thread(enroll, path, "--create-operator-key")
        for _ in range(rounds):
            keys += await _round(folder, path, draw.uniform(0.0, LATEST_S))
        while is_waiting(folder / "state"):  # the last one is taken into use in peace
            keys += await _round(folder, path, 3 * LATEST_S)
    return keys


async def _round(folder: Path, path: Path, wait_s: float) -> tuple[Key, Key]:
    said = folder / "agent.log"
    with said.open("w") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - killed below, without a word
            [sys.executable, "-m", "joulemark_agent.cli", "agent", "run", "-c", str(path)],
            stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, "PYTHONPATH": search_path()},
        )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while "agent_started" not in said.read_text():
                assert process.poll() is None, said.read_text()
                await asyncio.sleep(0.02)
        found = request_rotation(folder / "state")
        await asyncio.sleep(wait_s)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in said.read_text(), said.read_text()
    return found


def chain_of(outbox: Outbox, tree: Tree) -> list[bytes]:
    """The keys of a tree, after every head was found signed by the key of its place."""
    grant = parse_canonical(tree.opening)["grant"]
    first, rotations = decode64(grant["agent_key"]), []
    for sealed in batches_of(outbox, tree.device, tree.epoch):
        batch = parse_batch(sealed.payload)
        rotations += rotations_in(enumerate(batch.leaves, batch.first_seq), grant["site"])
        assert is_log_signed(batch.checkpoint, key_at(first, rotations, batch.size))
    return keys_of(first, rotations)


def left_over(state: Path, keys: list[Key]) -> int:
    """How many private keys can be read in the state folder."""
    texts = {encode64(key.private).encode() for key in keys}
    data = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    return sum(any(text in one for one in data) for text in texts)


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Sixty kills; `full=False` two."""
    rounds = ROUNDS if full else FEW
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = asyncio.run(asked_and_killed(folder, rounds, random.Random(seed)))
        state = folder / "state"
        last = load_key(state / AGENT_KEY)
        with closing(Outbox(state / OUTBOX)) as outbox:
            chains = {tree.device: chain_of(outbox, tree) for tree in outbox.trees()}
            leaves = sum(len(kept(outbox, device).leaves) for device in chains)
            trees, records, _ = judged(outbox)
        assert len({tuple(chain) for chain in chains.values()}) == 1, "one row of keys for all"
        [chain] = {tuple(chain) for chain in chains.values()}
        assert chain == (*former_keys(state), last.public)
        made = {key.public for key in keys}
        assert set(chain) == made, "no key was made in vain, and none was lost"
        assert left_over(state, keys) == 1
    return {
        "kills while a new key was asked for": str(rounds),
        "keys that were taken into use": str(len(chain) - 1),
        "trees that are whole, with every head by the key of its place": f"{trees} of {trees}",
        "leaves, records of them": f"{leaves}, {records}",
        "private keys left on the device": "1",
    }
