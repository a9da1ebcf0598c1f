"""OPC UA for Compressed Air Systems: eight models in a foreign server, scanned and read.

The models load in their order, and what a foreign importer skips is listed. A compressor of the
model's own type is found by the scan among all of it, and the profile that is proposed reads it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from asyncua import Server, ua

from joulemark_agent.documents import load_profile
from joulemark_agent.drivers import opcua
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.opcua_browse import scan
from joulemark_agent.plan import plan_requests
from support.nodesets import ORDER, OTHERS, Loaded, load_models
from support.opcua import CAS, COMPRESSOR, engineering_unit

DI = "http://opcfoundation.org/UA/DI/"
WANTED = {
    "energy_wh": Decimal(84728278), "power_w": Decimal(106880), "air_dm3": Decimal(595275500),
    "outlet_gauge_pressure_pa": Decimal(710000), "outlet_temperature_k": Decimal("298.15"),
    "specific_energy_requirement_j_m3": Decimal(512406), "running_time_s": Decimal(44442000),
}  # fmt: skip


def run(seed: int, *, full: bool) -> dict[str, str]:
    """All models, or the three that others build on; nothing is drawn."""
    del seed
    folder = Path(os.environ["JOULEMARK_DATA"]) / "opcua_nodesets"
    return asyncio.run(_run(folder, ORDER + OTHERS if full else ORDER[:3]))


async def _run(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    loaded = await load_models(server, folder, names)
    _check(loaded)
    figures = {f"{model.name}": _told(model) for model in loaded}
    if "CAS" not in names:
        return figures
    await _add_compressor(server)
    async with server:
        listener: Any = server.bserver
        url = f"opc.tcp://127.0.0.1:{listener._server.sockets[0].getsockname()[1]}"
        begun_s = time.monotonic()
        found = await scan(url, timeout_s=10.0)
        figures["scan of the server"] = f"{time.monotonic() - begun_s:.1f} s"
        [machine] = [each for each in found if each.title.endswith("Compressor 7")]
        values = await _read(machine.profile, url)
    assert WANTED.items() <= values.items(), values
    figures["what the scan says"] = machine.about
    figures["points read in SI by the proposed profile"] = str(len(values))
    return figures


def _check(loaded: list[Loaded]) -> None:
    for model in loaded:
        if model.name in {"Di", "Machinery", "IA"}:
            assert not model.skipped_nodes, model
            assert not model.skipped_references, model
    nodes = {model.name: model.nodes for model in loaded}
    wanted = {"Di": 412, "Machinery": 143, "IA": 114, "CAS": 4995}
    assert {name: nodes[name] for name in wanted if name in nodes} == {
        name: count for name, count in wanted.items() if name in nodes
    }


def _told(model: Loaded) -> str:
    text = f"{model.nodes} nodes in {model.took_s:.1f} s"
    if model.skipped_nodes or model.skipped_references:
        text += f"; skipped {model.skipped_nodes} nodes and {len(model.skipped_references)}"
        text += f" references: {'; '.join(model.skipped_references)}"
    return text


async def _add_compressor(server: Server) -> None:
    """An instance of the model's own type, with values and units.

    asyncua leaves out what the type of a part inherits (RunningTime): that is added by hand.
    """
    index = await server.get_namespace_index(CAS)
    kind = server.get_node(ua.NodeId(1039, index))  # CompressorType
    plant = await server.register_namespace("urn:example:air-station")
    machine = await server.nodes.objects.add_object(
        plant, "Compressor 7", objecttype=kind.nodeid, instantiate_optional=True
    )
    for path, (value, code) in COMPRESSOR.items():
        node = machine
        for name in path.split("/"):
            parent, node = node, await _child(node, name)
        if node is None:
            node = await parent.add_variable(index, name, value)
        await node.write_value(ua.Variant(value, ua.VariantType.Double))
        if code and (unit := await _child(node, "EngineeringUnits")) is not None:
            await unit.write_value(ua.Variant(engineering_unit(code)))
        elif code:
            await node.add_property(0, "EngineeringUnits", engineering_unit(code))


async def _child(node: Any, name: str) -> Any:
    for child in await node.get_children():
        if (await child.read_browse_name()).Name == name:
            return child
    return None


async def _read(profile_text: str, url: str) -> dict[str, Decimal]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compressor.yaml"
        path.write_text(profile_text, "utf-8")
        profile, _ = load_profile(str(path))
    driver = await opcua.connect(url, timeout_s=10.0)
    values, _ = decode_responses(profile, await driver.read(0, plan_requests(profile)))
    await driver.close()
    return {name: Decimal(value) for name, value in values.items()}
