"""In which epoch a device is recorded: the tree that goes on, or a new one, or a refusal."""

from __future__ import annotations

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.reading import SYSTEM
from joulemark_agent.contract.signature import encode64, is_log_signed
from joulemark_agent.keys import Key
from joulemark_agent.outbox import Tree
from joulemark_agent.recorded import Recorded

_WORTH_WAITING_US = 3_600_000_000  # for slots that were recorded ahead of time


def tree_of(device: Recorded, old: Tree | None, now_us: int) -> Tree:
    """The tree of the granted epoch: that of the last one, or a new one."""
    return _new_tree(device, old, now_us) if old is None or old.epoch < device.epoch else old


def _new_tree(device: Recorded, old: Tree | None, now_us: int) -> Tree:
    """The tree of an epoch that begins; slots between two epochs are accounted for too.

    Unless the old one ends in the future, where a wrong clock once was: then it begins now.
    """
    content = device.grant["grant"]
    last_us = None
    if content["first_slot"] is not None:
        last_us = int(content["first_slot"]) - device.period_us
    elif old is not None and parse_canonical(old.opening)["grant"]["clock"] == SYSTEM:
        last_us = old.last_slot_us
        if last_us is not None and last_us - now_us > _WORTH_WAITING_US:
            last_us = None
    if last_us is not None:  # another period has another grid
        last_us -= last_us % device.period_us
    opening = canonical_bytes(dict(device.grant))
    return Tree(device.device, device.epoch, opening, last_slot_us=last_us)


def has_ended(device: Recorded, why: str) -> ConfigError:
    """What is said of an epoch that a damaged disk has ended."""
    return ConfigError(
        f"The evidence of {device.device!r}, epoch {device.epoch}, cannot be gone on with: {why}.",
        "There is no reserve grant left. Run 'joulemark agent enroll -c SITE.yaml --operator-key"
        f" FILE --epoch {device.epoch + 1}'.",
    )


def check_epoch(device: Recorded, tree: Tree) -> None:
    """Refuse a tree that was opened with another grant.

    Raises:
        ConfigError: it says which epoch to enroll.
    """
    if tree.opening != canonical_bytes(dict(device.grant)):
        raise ConfigError(
            f"The grant of {device.device!r} is for epoch {device.epoch}, but epoch {tree.epoch}"
            " was opened with another one.",
            "Run 'joulemark agent enroll -c SITE.yaml --operator-key FILE"
            f" --epoch {max(tree.epoch, device.epoch) + 1}'.",
        )


def check_grant(device: Recorded, tree: Tree, key: Key) -> None:
    """Refuse a grant of another key or for other documents.

    Raises:
        ConfigError: it says which epoch to enroll.
    """
    content = device.grant["grant"]
    digests = {name: digest_hex(data) for name, data in device.documents.items()}
    is_ours = content["agent_key"] == encode64(key.public) or is_headed_by(tree, key)
    if not is_ours or content["documents"] != digests:
        raise ConfigError(
            f"The grant of {device.device!r} is for another key or for other documents.",
            "Run 'joulemark agent enroll -c SITE.yaml --operator-key FILE"
            f" --epoch {device.epoch + 1}'.",
        )


def is_headed_by(tree: Tree, key: Key) -> bool:
    """Whether the tree is this key's to go on with: it signed the last head."""
    return tree.head is not None and is_log_signed(tree.head, key.public)
