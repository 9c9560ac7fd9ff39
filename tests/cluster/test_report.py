"""The page of `hereabouts replay --report`: what it holds of a trace, and that it loads nothing."""

import json
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rt_client.town import TOOLS

from cluster.demo.fences import fences_around, fences_in
from cluster.demo.walks import Route, gates
from cluster.errors import OperatorError
from cluster.replay import read_route
from cluster.report import offline, writing
from cluster.report import trail as trails
from cluster.report.page import render
from cluster.report.trail import COUNTED, DrawnFence, Report
from geo.traces import TracePoint


def report_of(page: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert len(found) == 1
    told: dict[str, Any] = json.loads(found[0])
    return told


def hereabouts(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / "hereabouts", "replay", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_trace_is_judged_with_no_engine_and_the_page_holds_all_of_it(
    recorded: Path, tmp_path: Path
) -> None:
    page = tmp_path / "out.html"
    done = hereabouts(
        "--offline", "--report", page, "--places", "2", recorded / "two-stays.gpx", recorded / "jump.gpx"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Report: {page} (it holds the precise positions of the files)\n"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    told = report_of(page.read_text())
    stays, jump = told["trails"]
    assert [stay["text"] for stay in stays["stops"]] == ["stays 20.2 min", "stays 90.5 min"]
    assert (len(stays["fixes"]), stays["outcomes"]) == (83, {"counted": 83})
    assert jump["outcomes"] == {"counted": 295, "jump": 1}
    assert [fix[3] for fix in jump["fixes"] if fix[3] != COUNTED] == ["jump"]
    assert len(told["fences"]) == 4
    for trail in told["trails"]:
        events = trail["events"]
        assert [event["at_s"] for event in events] == sorted(event["at_s"] for event in events)
        assert {"enter", "dwell", "exit"} <= {event["kind"] for event in events}
        assert all(0 <= cell["from_s"] < cell["to_s"] for cell in trail["cells"])
        assert all(len(cell["ring"]) == 6 for cell in trail["cells"])
        assert 200 < trail["astray_m"][0] < 600  # a res 8 cell's middle is some 300 m away


def test_the_page_says_how_much_of_a_dirty_file_is_not_on_it(tmp_path: Path) -> None:
    dirty, page = tmp_path / "dirty.csv", tmp_path / "out.html"
    rows = [f"{52.52 + second / 1e5},13.405,{1_790_000_000_000 + second * 1_000}" for second in range(9)]
    dirty.write_text(
        "\n".join(["lat,lon,t_ms", *rows, "NaN,1,1790000009000", "1,500,x", "91,0,1790000010000"])
    )
    done = hereabouts("--offline", "--report", page, "--places", "1", dirty)
    assert done.returncode == 0, done.stderr
    told = report_of(page.read_text())
    assert len(told["trails"][0]["fixes"]) == 9
    assert [note for note in told["notes"] if note.startswith("dirty: 3 positions of the file were left out")]


def test_fences_are_those_of_the_file(recorded: Path, tmp_path: Path) -> None:
    drawn, page = tmp_path / "fences.geojson", tmp_path / "out.html"
    start = read_route(recorded / "kent-run.gpx").points[0]
    circle = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [start.lon, start.lat]},
        "properties": {"name": "Start", "radius_m": 60, "dwell_s": 5},
    }
    drawn.write_text(json.dumps({"type": "FeatureCollection", "features": [circle]}))
    done = hereabouts("--offline", "--report", page, "--fences", drawn, recorded / "kent-run.gpx")
    assert done.returncode == 0, done.stderr
    told = report_of(page.read_text())
    assert told["fences"] == [{"name": "Start", "geometry": circle["geometry"] | {"radius_m": 60}}]
    [trail] = told["trails"]
    assert trail["stops"] == []
    assert [event["text"].split(",")[0].split(" after")[0] for event in trail["events"]][:3] == [
        "starts inside Start", "dwells in Start", "leaves Start",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file"), ("{", "is no GeoJSON"), ("[]", "feature 1"),
        ('{"features": []}', "holds no fences"),
        ('{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]}}', "feature 1: "),
        ('{"type":"Feature","geometry":null}', "feature 1: "),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_fences_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "fences.geojson"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OperatorError, match=said) as wrong:
        fences_in(path)
    assert str(path) in str(wrong.value)


def test_what_cannot_be_done_is_said(recorded: Path, tmp_path: Path) -> None:
    trace = read_route(recorded / "jump.gpx")
    with pytest.raises(OperatorError, match="--offline writes a report"):
        writing.judge_offline(None, [trace], None, 1)
    with pytest.raises(OperatorError, match="cannot be written: No such file"):
        writing.judge_offline(tmp_path / "none" / "x.html", [trace], None, 1)
    done = hereabouts("--offline", "--report", tmp_path / "x.html", tmp_path / "none.gpx")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("hereabouts: there is no file")


def route(name: str = "walk", seconds: int = 900) -> Route:
    return Route(
        name, tuple(TracePoint(s * 1_000, s * 1.4 / 111_250, 179.999) for s in range(0, seconds, 10))
    )


def page_of(walk: Route) -> str:
    fences = fences_around(gates(walk, 2))
    drawn = tuple(DrawnFence(fence.name, fence.shape.geometry) for fence in fences)
    judged = offline.judge(walk, fences)
    assert judged is not None
    return render(Report("now", "here", ("a note",), drawn, (judged,)))


def test_the_page_loads_nothing_and_says_what_it_holds() -> None:
    page = page_of(route())
    assert "<b>This page holds precise positions.</b>" in page
    assert "default-src 'none'" in page
    outside = re.findall(
        r"(?:https?:)?//[\w.-]+\.\w+[^\"'` ]*", page.replace("http://www.w3.org/2000/svg", "")
    )
    assert outside == []
    assert not re.search(
        r"\b(?:src|href|srcset|action)\s*=|@import|url\(|fetch\(|XMLHttp|WebSocket|import\(", page
    )


def test_a_name_cannot_end_the_script() -> None:
    name = "</script><script>alert(1)</script><!-- \u2028 & /*SCRIPT*/"
    page = page_of(route(name))
    assert report_of(page)["trails"][0]["name"] == name
    assert page.count("</script>") == page_of(route()).count("</script>")
    assert "alert(1)</" not in page


def test_of_a_very_long_trace_every_so_manieth_fix_is_drawn_and_all_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trails, "DRAWN_MOST", 30)
    walk = route(seconds=1_000)
    astray = walk.points[55]._replace(lat=5.0)
    walk = Route("walk", (*walk.points[:55], astray, *walk.points[56:]))
    [trail] = report_of(page_of(walk))["trails"]
    assert trail["outcomes"] == {"counted": 99, "jump": 1}
    assert 25 < len(trail["fixes"]) < 40
    assert [trail["fixes"][0][0], trail["fixes"][-1][0]] == [0, 990]
    assert "jump" in [fix[3] for fix in trail["fixes"]]


def test_a_file_of_which_no_fix_counts_makes_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, page = tmp_path / "vague.csv", tmp_path / "out.html"
    trace.write_text("lat,lon,t_ms,acc_m\n1,2,1790000000000,9000\n1,2,1790000001000,9000\n")
    writing.judge_offline(page, [read_route(trace)], None, 1)
    assert capsys.readouterr().out == "No fix counted: there is nothing to report.\n"
    assert not page.exists()


def test_files_without_times_have_none_in_the_report() -> None:
    [trail] = report_of(page_of(route()))["trails"]
    assert trail["begins_ms"] is None
    assert trail["seconds"] == 890
