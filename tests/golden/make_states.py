"""How tests/golden/states-1.zip was made, by the last version whose stores had format 1.

Run in a checkout of it (its change says
"A Sparkplug B host is told what is read"), with its sources and tests on PYTHONPATH:
    python make_states.py states-1.zip

Ten batches stand in the agent's outbox; the collector has taken the first five, and the agent has
the receipts of three of them.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

from joulemark_agent.contract.topics import batch_topic
from joulemark_agent.outbox import Outbox
from joulemark_gateway.evidence.store import FILE
from support import evidence
from support.intakes import new_intake
from support.recording import batches_of, recorded, recorder

DAY = (2026, 11, 23, 0, 0, 0)  # of every file in the archive


def main(target: Path) -> None:
    """Write both state folders into one archive."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "agent").mkdir()
        (folder / "collector").mkdir()
        site = evidence.documents()
        box = Outbox(folder / "agent/outbox.db")
        writer = recorder(box, recorded(site), slots=4)
        readings = evidence.meter_readings(site, [1000] * 40)
        for at in range(0, 40, 4):
            writer.commit(readings[at : at + 4])
        writer.seal_all()
        batches = batches_of(box)
        intake = new_intake(folder / "collector" / FILE)
        for batch in batches[:5]:
            intake.take(batch_topic(evidence.AGENT, evidence.METER), batch.payload)
        box.receipt(evidence.METER, 1, batches[2].size)
        intake.close()
        box.close()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    entry = zipfile.ZipInfo(str(path.relative_to(folder)), DAY)
                    archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
