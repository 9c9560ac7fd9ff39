"""Writes reports: of a replay, or of files alone."""

import time
from collections.abc import Sequence
from pathlib import Path

from cluster.demo.fences import Fence, fences_around
from cluster.demo.walks import Route, gates
from cluster.errors import OperatorError
from cluster.report import offline
from cluster.report.page import render
from cluster.report.trail import DrawnFence, Report, Trail

_HOW = (
    f"Fixes come at the times that the file tells; accuracy is {offline.ACCURACY_M:g} m where it tells none, "
    "and without times people go at 1.4 m/s."
)
_CELLS = (
    "The cells are what strangers see of somebody who shows 300 m (H3 resolution 8), with no others needed "
    "there."
)


def judge_offline(
    report: Path | None, routes: Sequence[Route], given: list[Fence] | None, places: int
) -> None:
    """Writes the report of whole files; where no fences are given, so many stand on each way. Raises
    OperatorError.
    """
    if report is None:
        raise OperatorError("--offline writes a report and does nothing else", "say where with --report HTML")
    fences = given or [
        fence
        for route in routes
        for fence in fences_around(gates(route, places), route.name if len(routes) > 1 else "")
    ]
    trails = [trail for route in routes if (trail := offline.judge(route, fences)) is not None]
    told = (_HOW, _CELLS, *_losses(routes))
    tell(report, "the engine's own kernels, no engine running", told, fences, trails)


def _losses(routes: Sequence[Route]) -> list[str]:
    return [route.loss for route in routes if route.loss]


def notes(speed: float, routes: Sequence[Route]) -> list[str]:
    """What a reader of an engine's report should know."""
    heard = (
        "Fixes, answers, crossings, rooms and messages went through the engine's public ports; the cells are "
        "what a stranger was shown who went beside the walker. Times are the recording's when it was heard."
    )
    fast = (
        f"It was replayed {speed:g} times as fast, so a rest or a dwell lasted the engine that much less: "
        "--speed 1 or --offline tell them as recorded."
    )
    return [heard, *([fast] if speed != 1 else []), *_losses(routes)]


def tell(
    path: Path, source: str, told: Sequence[str], fences: Sequence[Fence], trails: Sequence[Trail]
) -> None:
    """Writes the page, readable by its owner only, and says where. Raises OperatorError."""
    if not trails:
        print("No fix counted: there is nothing to report.")
        return
    drawn = tuple(DrawnFence(fence.name, fence.shape.geometry) for fence in fences)
    made_at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    page = render(Report(made_at, source, tuple(told), drawn, tuple(trails)))
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(page, encoding="utf-8")
    except OSError as problem:
        raise OperatorError(f"{path} cannot be written: {problem.strerror}") from None
    print(f"Report: {path} (it holds the precise positions of the files)")
