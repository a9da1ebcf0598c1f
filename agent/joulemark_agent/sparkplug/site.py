"""The Sparkplug session of a site file, and its changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from joulemark_agent.contract.reading import Reading
from joulemark_agent.mqtt import Login
from joulemark_agent.recorded import Recorded
from joulemark_agent.settings import SiteSettings
from joulemark_agent.sparkplug.node import BornDevice, Sample
from joulemark_agent.sparkplug.session import Node, Session


def session_of(settings: SiteSettings, devices: Iterable[Recorded]) -> Session | None:
    """The session that the site file asks for, not yet begun; None where it asks for none."""
    wanted = settings.sparkplug
    if wanted is None:
        return None
    name = wanted.edge_node_id or settings.agent
    password = wanted.password.get_secret_value() if wanted.password else None
    files = None if wanted.tls is None else wanted.tls.files(settings.state_dir)
    login = Login(wanted.url, f"{settings.agent}-sparkplug", wanted.username, password, files)
    text = {"agent": settings.agent, "site": settings.site, "clock": settings.clock}
    node = Node(wanted.group_id, name, wanted.primary_host, wanted.buffered, text)
    session = Session(login, node, settings.state_dir)
    session.change(*told(settings, devices))
    return session


def told(
    settings: SiteSettings, devices: Iterable[Recorded]
) -> tuple[list[BornDevice], dict[str, float]]:
    """What the births state of each device, and how often each is read. [s]"""
    born = [
        BornDevice(
            one.device,
            one.profile,
            {
                "epoch": str(one.epoch),
                "model": one.profile.model,
                "profile_sha256": one.grant["grant"]["documents"]["profile"],
            },
        )
        for one in devices
    ]
    return born, {device.id: float(device.period_s) for device in settings.devices}


def sample_of(reading: Reading, values: Mapping[str, str], quality: Mapping[str, str]) -> Sample:
    """A reading as a host is told of it."""
    return Sample(reading.device, reading.t_utc_us // 1000, values, quality)
