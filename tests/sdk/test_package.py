"""The Python client is a package of its own."""

import subprocess
import sys
import zipfile
from pathlib import Path

import hereabouts_client
import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "sdk" / "python"
TOOLS = Path(sys.executable).parent


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=PACKAGE, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.timeout(300)
def test_it_type_checks_strictly_by_its_own_settings() -> None:
    run(TOOLS / "mypy", "--config-file", "pyproject.toml")


def test_its_wheel_holds_all_of_it_and_imports_without_the_engine(tmp_path: Path) -> None:
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        tmp_path,
        ".",
    )
    (wheel,) = tmp_path.glob("hereabouts_client-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {Path(name).name for name in archive.namelist() if name.startswith("hereabouts_client/")}
        archive.extractall(tmp_path / "site")
    source = PACKAGE / "src" / "hereabouts_client"
    assert held == {path.name for path in source.iterdir() if path.suffix == ".py"} | {"py.typed"}
    import websockets  # noqa: PLC0415 - where it stands

    (tmp_path / "site" / "websockets").symlink_to(Path(websockets.__file__).parent)
    site = str(tmp_path / "site")
    code = f"import sys; sys.path.insert(0, {site!r}); import hereabouts_client as h; print(h.__file__)"
    told = run(sys.executable, "-I", "-S", "-c", code)
    assert told.startswith(str(tmp_path))


def test_every_public_name_is_there() -> None:
    for name in hereabouts_client.__all__:
        assert getattr(hereabouts_client, name) is not None
    assert list(hereabouts_client.__all__) == sorted(hereabouts_client.__all__)
