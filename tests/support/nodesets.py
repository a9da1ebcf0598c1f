"""Companion models in a foreign server, with everything that its import leaves out.

asyncua 2.1.0 stops at OPC 40250-1 in its strict mode: some of its instances hang below nodes of the
types whose declarations it does not copy. Without strict mode it goes on, and what it skipped is
told here: nodes by their number, references one by one.
"""

import gzip
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path

from asyncua import Server
from asyncua.common.xmlimporter import XmlImporter

# Each after those it needs.
ORDER = ("Di", "Machinery", "IA", "CAS")
OTHERS = ("IRDI", "PADIM", "Machinery.ProcessValues", "Machinery.Examples")
_NODES = re.compile(
    rb"<UA(?:Object|Variable|Method|ObjectType|VariableType|DataType|ReferenceType)\b"
)


@dataclass(frozen=True)
class Loaded:
    """One model."""

    name: str
    nodes: int
    skipped_nodes: int
    skipped_references: tuple[str, ...]  # from, kind, to
    took_s: float


async def load_models(server: Server, folder: Path, names: tuple[str, ...]) -> list[Loaded]:
    """Load the models in that order."""
    logging.getLogger("asyncua.common.xmlimporter").setLevel(logging.CRITICAL)  # it is all told
    loaded = []
    for name in names:
        text = gzip.decompress((folder / f"Opc.Ua.{name}.NodeSet2.xml.gz").read_bytes())
        begun_s = time.monotonic()
        importer = XmlImporter(server, strict_mode=False)
        nodes = await importer.import_xml(xmlstring=text)
        skipped = tuple(
            " ".join(
                node.to_string()
                for node in (ref.SourceNodeId, ref.ReferenceTypeId, ref.TargetNodeId)
            )
            for ref in importer.refs or ()
        )
        missing = len(_NODES.findall(text)) - len(nodes)
        loaded.append(Loaded(name, len(nodes), missing, skipped, time.monotonic() - begun_s))
    return loaded
