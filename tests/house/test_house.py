"""The house rules that a machine can check (docs: CONTRIBUTING.md, "The house")."""

import ast
import gc
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("geo", "matching", "nlp", "storage", "identity", "actors", "serve_app", "cluster")
TOOLS = Path(sys.executable).parent
LINES_LIMIT = 400


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run(*command: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HEREABOUTS_")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


def test_imports_point_down_only() -> None:
    """import-linter's contracts in pyproject.toml, indirect chains included."""
    run(str(TOOLS / "lint-imports"))


def test_ruff_has_nothing_to_say() -> None:
    run(str(TOOLS / "ruff"), "check", "--quiet", ".")


@pytest.mark.timeout(300)
def test_every_type_checks_strictly() -> None:
    run(str(TOOLS / "mypy"))
    run(str(TOOLS / "mypy"), "-p", "benchmarks")
    run(str(TOOLS / "mypy"), "-p", "hereabouts_client")
    run(str(TOOLS / "mypy"), "tests/client/rt_client")
    run(str(TOOLS / "mypy"), "-p", "sdk_hands")


def test_no_module_holds_more_than_400_lines() -> None:
    long = {
        named(path): count
        for path in [*modules(*PACKAGES, "benchmarks", "tests", "sdk"), *(ROOT / "web/sdk/src").glob("*.ts")]
        if (count := len(path.read_text().splitlines())) > LINES_LIMIT
    }
    assert not long


def parsed(path: Path) -> ast.AST:
    """A module's tree. No garbage is collected meanwhile: a finalizer that warns has a traceback formatted,
    which parses, too, and CPython 3.11 takes the two depths for one (SystemError).
    """
    gc.disable()
    try:
        return ast.parse(path.read_text())
    finally:
        gc.enable()


def reads_of_environment(tree: ast.AST) -> Iterator[int]:
    """Lines that use os.environ or os.getenv, under whatever name they were imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "getenvb"}:
            yield node.lineno
        if (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {alias.name for alias in node.names} & {"environ", "environb", "getenv", "getenvb"}
        ):
            yield node.lineno


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        f"{named(path)}:{line}"
        for path in modules(*PACKAGES)
        if named(path) != "cluster/settings.py"
        for line in reads_of_environment(parsed(path))
    }
    assert not readers


PRECISE = {"lat", "lon", "LatLng", "latitude", "longitude"}
INGRESS = {
    "serve_app/commands.py",
    "serve_app/frames.py",
    "serve_app/locating.py",
    "serve_app/routes/positions.py",
    "serve_app/routes/own_positions.py",  # the way out for my own fixes, to me alone
    "serve_app/routes/places.py",  # the way out for one's own places, to oneself alone
    "serve_app/routes/cells.py",  # the map's own geometry: nobody's position
}
"""Where a fix comes in; what stands behind takes it to the user's own actor, and no answer carries one."""


def names_used(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name))
            ):
                yield name, node.lineno
            case ast.Constant(value=str(name)):
                yield name, node.lineno


def test_a_precise_position_passes_the_face_only_at_ingress() -> None:
    found = {
        f"{named(path)}:{line} {name}"
        for path in modules("serve_app")
        if named(path) not in INGRESS
        for name, line in names_used(parsed(path))
        if name in PRECISE
    }
    assert not found


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    if listed:
        return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    return modules(*PACKAGES, "benchmarks", "tests")  # an unpacked archive has no index


HOME_PATH = re.compile(r"/(?:home|Users)/[A-Za-z0-9_]+/|/root/[.A-Za-z0-9_]|/work/(?:main|shared)\b")
REGISTRY_HOST = re.compile(
    r"--(?:extra-)?index-url|--trusted-host|\bfiles\.pythonhosted\.org\b|\bregistry\.npmjs\.org\b"
)
THESE = re.compile(r"tests/house/test_house\.py$")


def test_tracked_files_name_no_home_and_no_registry() -> None:
    found = []
    for path in tracked():
        if THESE.search(named(path)):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{named(path)}: {hit[0]}"
            for rule in (HOME_PATH, REGISTRY_HOST)
            for hit in [rule.search(text)]
            if hit
        ]
    assert not found


def test_tests_are_no_package() -> None:
    """Other wheels install a `tests` package: ours must never be importable as one."""
    assert not [
        named(path) for path in (ROOT / "tests").rglob("__init__.py") if "rt_client" not in path.parts
    ]
