"""Whether the raw records of a tree stay at the gateway.

What was approved when the tree was opened says so, and not what the site file says now: after a
change from one to the other, batches of the old epoch that still wait are sent as was promised.
"""

from __future__ import annotations

from pathlib import Path

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.committed import interval_us_in
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.covers import Tree
from joulemark_agent.grants import opening_site


def is_committed(tree: Tree, state_dir: Path, *, otherwise: bool) -> bool:
    """Whether the site document of a tree's grant keeps raw records at the gateway.

    Args:
        tree: it.
        state_dir: where the documents are that trees were opened under.
        otherwise: the answer where that document is not at hand.
    """
    site = opening_site(state_dir, tree.opening)
    try:
        return otherwise if site is None else interval_us_in(parse_canonical(site)) is not None
    except (EvidenceError, ValueError):
        return otherwise
