"""The TypeScript client compiles strictly and plays every protocol vector, in Node."""

import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from sdk_hands.typescript_hand import NODE, SDK, build, environment

VECTORS = SDK.parents[1] / "sdk" / "vectors"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Test → what went wrong, empty if nothing did; as Node's own test runner says."""
    build()
    place: Path = tmp_path_factory.mktemp("node") / "report.xml"
    reporter = ("--test-reporter=junit", f"--test-reporter-destination={place}")
    done = subprocess.run(
        [NODE, "--test", *reporter, "test/vectors.test.ts"],
        cwd=SDK, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert place.exists(), done.stderr
    cases = ET.parse(place).getroot().iter("testcase")
    return {case.attrib["name"]: "".join(failure.text or "failed" for failure in case) for case in cases}


def names() -> list[str]:
    return [
        f"{file.stem}: {vector['name']}"
        for file in sorted(VECTORS.glob("*.json"))
        for vector in json.loads(file.read_text())
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", names())
def test_the_core_does_what_the_vector_says(report: dict[str, str], name: str) -> None:
    assert name in report, "Node did not run it"
    assert not report[name], report[name]


def test_node_ran_nothing_that_failed(report: dict[str, str]) -> None:
    assert len(report) > len(names())
    assert not [name for name, wrong in report.items() if wrong]


def test_the_package_needs_nothing_at_run_time_and_knows_no_platform() -> None:
    package: dict[str, Any] = json.loads((SDK / "package.json").read_text())
    assert "dependencies" not in package
    assert "peerDependencies" not in package
    settings = json.loads((SDK / "tsconfig.json").read_text())["compilerOptions"]
    assert settings["lib"] == ["ES2022"]
    assert settings["types"] == []
