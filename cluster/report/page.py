"""The report as one HTML page: styles, script and data are in it, and it loads nothing."""

from pathlib import Path

import msgspec

from cluster.report.trail import Report

_FOLDER = Path(__file__).parent


def render(report: Report) -> str:
    """The page. What it tells stands in it as JSON, in which no `<` is left that could end the script."""
    data = msgspec.json.encode(report).decode()
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    page = (_FOLDER / "report.html").read_text(encoding="utf-8")
    for mark, text in (
        ("/*STYLE*/", (_FOLDER / "report.css").read_text(encoding="utf-8")),
        ("/*SCRIPT*/", (_FOLDER / "report.js").read_text(encoding="utf-8")),
        ("/*DATA*/", data),
    ):
        before, found, after = page.partition(mark)
        assert found, mark
        page = before + text + after
    return page
