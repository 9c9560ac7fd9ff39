"""`hereabouts replay` against a real engine: what its people do, and what it leaves behind."""

import asyncio
import json
import math
import re
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h3
import pytest
from rt_client.town import TOOLS, Town
from rt_client.walk import Place

from geo.distance import distance_m
from geo.traces import read_trace

BEGIN = datetime(2014, 5, 10, 7, 0, tzinfo=UTC)


def lap(folder: Path, place: Place, seconds: int = 600, radius_m: float = 400.0) -> Path:
    """A GPX file: once around a circle, a fix a second, 4.2 m/s."""
    points = []
    for second in range(seconds):
        angle = 2 * math.pi * second / (seconds - 1)
        lat, lon = place.at(radius_m * math.cos(angle), radius_m * math.sin(angle))
        time = (BEGIN + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
        points.append(f'<trkpt lat="{lat:.6f}" lon="{lon:.6f}"><time>{time}</time></trkpt>')
    path = folder / "lap.gpx"
    path.write_text(f'<gpx version="1.1"><trk><trkseg>{"".join(points)}</trkseg></trk></gpx>')
    return path


async def replay(*words: str | Path) -> tuple[int | None, str, str]:
    """Runs the command to its end: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        TOOLS / "hereabouts", "replay", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    return process.returncode, out.decode(), err.decode()


async def test_people_appear_meet_cross_fences_join_rooms_and_talk(town: Town, tmp_path: Path) -> None:
    path = lap(tmp_path, Place(), 300)
    code, told, wrong = await replay(path, "--url", town.url, "--speed", "40", "--people", "3")
    assert (code, wrong) == (0, "")
    for part in (
        "300 recorded fixes, 2.5 km in 5 min; 3 walk it, 1 of them backwards",
        "Places are as recorded. Times are not",
        "ana    appears, on along lap from minute 0",
        "ben    appears, back along lap from minute 5",
        "are near, within 1 km",
        "comes into First gate",
        "is in the room of First gate",
        "leaves First gate",
        "comes into Second gate",
        "“",
        "has walked to the end and goes",
        "3 people sent",
        "fix → crossing: p50",
    ):
        assert part in told, told
    assert "\x1b" not in told


async def test_what_is_said_stands_in_the_room_once_and_nothing_is_left_on_the_map(
    town: Town, tmp_path: Path
) -> None:
    place, watcher = Place(), town.person()
    near = await town.connected(watcher)
    fences = await town.http("GET", "/v1/fences?limit=300", who=watcher)
    before = {fence["id"] for fence in fences.body["items"]}
    # The data folder says which engine, as for every command.
    code, told, _ = await replay(
        lap(tmp_path, place, 120), "--data", town.data, "--speed", "30", "--places", "1"
    )
    assert code == 0, told
    after = await town.http("GET", "/v1/fences?limit=300", who=watcher)
    assert {fence["id"] for fence in after.body["items"]} <= before
    await near.command("pos", [*place.at(0), 5, 1])
    assert (await town.http("GET", "/v1/people/near?radius_m=5000", who=watcher)).body["items"] == []


async def test_a_recorded_run_through_the_engine_and_what_its_report_tells(
    town: Town, recorded: Path, tmp_path: Path
) -> None:
    """Six minutes of a real run at 1 Hz: every fix counts, strangers get cells, a run has no stay."""
    page = tmp_path / "report.html"
    code, told, wrong = await replay(
        recorded / "kent-run.gpx", "--url", town.url, "--speed", "80", "--part", "6", "--people", "1",
        "--places", "1", "--report", page,
    )  # fmt: skip
    assert (code, wrong) == (0, "")
    assert f"Report: {page}" in told
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    [trail] = json.loads(found[1])["trails"]
    assert trail["outcomes"] == {"counted": len(trail["fixes"])}
    assert len(trail["fixes"]) >= 15
    kinds = [event["kind"] for event in trail["events"]]
    assert [kind for kind in kinds if kind in ("inside", "enter", "exit")] == ["enter", "exit"]
    assert kinds.count("room") == kinds.count("said") == 1
    entered = trail["events"][kinds.index("enter")]
    gate = json.loads(found[1])["fences"][0]["geometry"]
    lon, lat = gate["coordinates"]
    apart_m = distance_m(lat, lon, entered["lat"], entered["lon"])
    assert apart_m <= gate["radius_m"]
    assert trail["stops"] == []
    assert trail["cells"]
    for cell in trail["cells"]:
        assert h3.get_resolution(cell["cell"]) == 8


async def test_a_recorded_stay_through_the_engine_is_the_walker_s_own_place(
    town: Town, recorded: Path
) -> None:
    """Thirteen minutes of a ride with a rest of 7.0, told at the times of the recording."""
    points = read_trace((recorded / "short-stay.gpx").read_bytes())
    rider, begin_ms = town.person(), round(time.time() * 1_000) - 800_000
    fixes = [
        {"lat": point.lat, "lon": point.lon, "acc_m": 5, "t_ms": begin_ms + point.t_ms - points[0].t_ms}
        for point in points
        if point.t_ms - points[0].t_ms < 780_000
    ]
    answer = await town.http("POST", "/v1/positions", fixes, rider)
    assert (answer.status, answer.body["accepted"]) == (200, len(fixes))
    async with asyncio.timeout(10):
        while not (places := (await town.http("GET", "/v1/me/places", who=rider)).body["items"]):
            await asyncio.sleep(0.05)
        while places[0]["here"]:  # until its end is stored, too
            places = (await town.http("GET", "/v1/me/places", who=rider)).body["items"]
    [place] = places
    assert 7.0 * 60 <= place["stayed_s"] <= 8.5 * 60
    assert place["visits"] == 1
    assert (await town.http("GET", "/v1/me/places", who=town.person())).body["items"] == []


async def test_ctrl_c_ends_it_cleanly(town: Town, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        TOOLS / "hereabouts", "replay", lap(tmp_path, Place()), "--url", town.url, "--loop",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while b"appears" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        rest = (await process.stdout.read()).decode()
        assert await process.wait() == 0
    assert "Stopping." in rest
    assert "people sent" in rest


async def test_no_engine_is_said_with_the_way_out(tmp_path: Path) -> None:
    code, told, wrong = await replay(lap(tmp_path, Place(), 10), "--url", "http://127.0.0.1:9")
    assert (code, told) == (1, "")
    assert "http://127.0.0.1:9 does not answer" in wrong
    assert "hereabouts up" in wrong


@pytest.mark.parametrize("words", [["missing.gpx"], [str(Path(sys.executable))]], ids=["missing", "binary"])
async def test_a_file_that_is_none_is_said_before_anything_happens(words: list[str]) -> None:
    code, told, wrong = await replay(*words)
    assert (code, told) == (1, "")
    assert wrong.startswith("hereabouts: ")
    assert "Traceback" not in wrong
