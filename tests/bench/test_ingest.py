"""N17: what the collector spends on a value, and the mirror's writer against other ways to write.

Ingest is all of `Intake.take`: unpack, verify, no duplicates, ledger on disk. The mirror reads the
ledger again, decodes it and writes the series. Writers send the same points to VictoriaMetrics:
lines made before (the limit), our checked lines, and influxdb-client's `Point` objects.
"""

import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_agent.kernels import decode
from joulemark_agent.outbox import Outbox
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series.base import Carry, Intervals, Part, Points
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.mirror import catch_up
from joulemark_gateway.series.servers import Server
from support import servers
from support.book import registry
from support.evidence import AGENT
from support.evidence_load import Load, names_of, site_of, written
from support.intakes import new_intake
from support.needed import service
from support.recording import batches_of, state
from support.rounds import cpu_s, in_turns, say, show

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

LOAD = Load(50, 96.0, 10, 960)
POINTS = 10_000


def test_values_a_second_that_are_taken_and_mirrored(tmp_path: Path) -> None:
    names = names_of(LOAD)
    with closing(Outbox(state(tmp_path))) as box:
        written(LOAD, box, site_of(LOAD))
        sealed = [(name, one.payload) for name in names for one in batches_of(box, name)]
    decode._decoders.cache_clear()  # a collector knows no profile of an agent's

    def taken_and_mirrored_s(folder: Path, batches: list[tuple[str, bytes]]) -> tuple[float, float]:
        path = folder / FILE
        with closing(new_intake(path, registry(devices=names), step_us=0)) as intake:

            def take() -> None:
                for name, payload in batches:
                    answer = intake.take(batch_topic(AGENT, name), payload)
                    assert answer is not None
                    assert answer.topic.endswith("/receipt"), answer.payload

            taken_s = cpu_s(take)
        with (
            SqliteStore(path, create=False) as store,
            closing(EmbeddedSeries(folder / "series.duckdb")) as series,
        ):

            def mirror() -> None:
                while catch_up(store, series):
                    pass

            return taken_s, cpu_s(mirror)

    taken_and_mirrored_s(tmp_path / "first", sealed[:2])  # machine code is loaded once
    taken_s, mirrored_s = taken_and_mirrored_s(tmp_path / "all", sealed)
    say(
        f"N17 {LOAD.values:,} values of {LOAD.points} a record, batches of {LOAD.batch_s:.0f} s:"
        f" taken {LOAD.values / taken_s:,.0f} values/s/core, mirrored to DuckDB"
        f" {LOAD.values / mirrored_s:,.0f}, both {LOAD.values / (taken_s + mirrored_s):,.0f};"
        f" load {os.getloadavg()[0]:.0f}"
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = service("victoria-metrics", "victoria-metrics")
    folder = tmp_path_factory.mktemp("victoria")
    with servers.victoriametrics(path, folder, "-retentionPeriod=100y") as found:
        yield found


def part(number: int) -> Part:
    """The rows of one device, as the mirror hands them to a series."""
    t_us = 1_750_000_000_000_000 + (number * POINTS + np.arange(POINTS)) * 1_000_000
    draw = np.random.default_rng(number)
    points = Points(np.full(POINTS, "power_w", object), t_us,
                    np.round(draw.normal(500, 50, POINTS), 1),
                    np.zeros(POINTS, np.uint8))  # fmt: skip
    none = np.empty(0, np.int64)
    empty = Intervals(np.empty(0, object), none, none, none, none, none, none)
    return Part(origin("plant", "machine", 1), (number + 1) * POINTS, Carry(), points, empty)


def test_writers_of_a_series_against_lines_made_before(url: str, tmp_path: Path) -> None:
    from influxdb_client.client.influxdb_client import InfluxDBClient  # noqa: PLC0415 -- heavy
    from influxdb_client.client.write.point import Point  # noqa: PLC0415
    from influxdb_client.client.write_api import SYNCHRONOUS, WriteOptions  # noqa: PLC0415
    from influxdb_client.domain.write_precision import WritePrecision  # noqa: PLC0415

    precision: Any = WritePrecision.MS
    numbers = iter(range(10_000))
    series = InfluxSeries("victoriametrics", Server(url, "o", "b"), tmp_path / "progress")
    series.write([part(next(numbers))])  # the first is read back
    client = InfluxDBClient(url, token="t", org="o")
    writer = client.write_api(write_options=SYNCHRONOUS)

    def rows(number: int) -> list[tuple[int, float]]:
        points = part(number).points
        return list(zip((points.t_utc_us // 1000).tolist(), points.value.tolist(), strict=True))

    def raw() -> float:
        lines = "\n".join(
            f"joulemark_point,site=plant,device=machine,point=power_w value={value},quality=0 {at}"
            for at, value in rows(next(numbers))
        ).encode()
        target = f"{url}/api/v2/write?precision=ms"

        def send() -> None:
            asked = urllib.request.Request(target, lines, method="POST")
            with urllib.request.urlopen(asked) as answer:
                assert answer.status == 204

        return timed(send)

    def ours() -> float:
        mine = part(next(numbers))
        return timed(lambda: series.write([mine]))

    def made(found: list[tuple[int, float]]) -> list[Any]:
        return [
            Point("joulemark_point").tag("site", "plant").tag("device", "machine")
            .tag("point", "power_w").field("value", value).field("quality", 0.0).time(at, "ms")
            for at, value in found
        ]  # fmt: skip

    def theirs() -> float:
        found = rows(next(numbers))
        return timed(lambda: writer.write("b", "o", made(found), write_precision=precision))

    def batching() -> float:
        found = rows(next(numbers))

        def send() -> None:
            options = WriteOptions(batch_size=5000, flush_interval=10_000)
            with client.write_api(write_options=options) as many:
                for point in made(found):
                    many.write("b", "o", point, write_precision=precision)

        return timed(send)

    def timed(send: Any) -> float:
        begun_s = time.process_time()
        send()
        return (time.process_time() - begun_s) / POINTS * 1e6

    seen = in_turns(
        {"lines made before, raw HTTP": raw, "joulemark": ours, "Point objects": theirs,
         "batching, Point objects": batching}
    )  # fmt: skip
    show("N17 a point of 2 fields to VictoriaMetrics: CPU of the writer", seen, "us",
         to="joulemark")  # fmt: skip
    client.close()
    series.close()
