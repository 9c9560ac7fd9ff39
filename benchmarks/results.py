"""Medians, spreads, and the file that stands behind every figure in the README."""

import json
import statistics
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"


def spread(values: list[float], digits: int = 3) -> dict[str, Any]:
    """Median, least and most of some windows, and the windows themselves."""
    rounded = [round(value, digits) for value in values]
    return {
        "median": round(statistics.median(values), digits),
        "least": min(rounded),
        "most": max(rounded),
        "windows": rounded,
    }


def quantile(sorted_values: list[float], part: float) -> float:
    """The nearest-rank quantile; NaN of nothing."""
    if not sorted_values:
        return float("nan")
    return sorted_values[min(len(sorted_values) - 1, int(part * len(sorted_values)))]


def write(name: str, result: dict[str, Any]) -> Path:
    """Stores a result as results/<name>.json."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def show(machine: dict[str, Any], rows: list[tuple[str, ...]]) -> None:
    """Prints the machine and a table whose first row is the head."""
    print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}; commit {machine['commit']}; {machine['measured_at']}"
    )
    print(", ".join(f"{name} {version}" for name, version in machine["versions"].items()))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
