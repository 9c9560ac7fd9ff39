"""Where an engine keeps things: the durable in the data folder, sockets and Ray in the run folder."""

import hashlib
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import OperatorError


@dataclass(frozen=True, slots=True)
class Layout:
    data: Path
    run: Path

    @property
    def lock(self) -> Path:
        return self.data / "engine.lock"

    @property
    def state(self) -> Path:
        return self.data / "engine.json"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def ray_token(self) -> Path:
        return self.data / "secrets" / "ray.token"

    @property
    def gcs_storage(self) -> Path:
        """What the head's GCS knows, so that one that was killed can go on. Of no use to another run."""
        return self.run / "gcs"

    @property
    def ray_temp(self) -> Path:
        return self.run / "ray"


def layout_of(data: Path) -> Layout:
    """The layout of the engine of a data folder; creates nothing. The run folder's path is short, because a
    Unix socket's path has at most 107 bytes and Ray adds 60 of its own.
    """
    data = data.absolute()
    digest = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:8]
    root = Path("/tmp") if os.access("/tmp", os.W_OK | os.X_OK) else Path(tempfile.gettempdir())  # noqa: S108
    return Layout(data, root / f"hb-{os.getuid()}-{digest}")


def prepare(layout: Layout) -> None:
    """Create the folders, for this user only. Raises OperatorError where that is impossible."""
    for folder in (layout.data, layout.logs, layout.data / "secrets"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as wrong:
            raise OperatorError(
                f"cannot create {folder}: {wrong.strerror}",
                "choose another folder with HEREABOUTS_DATA or --data",
            ) from None
    if not os.access(layout.data, os.W_OK | os.X_OK):
        raise OperatorError(f"{layout.data} is not writable", "choose another with HEREABOUTS_DATA or --data")
    prepare_run_folder(layout.run)


def prepare_run_folder(run: Path) -> None:
    """Create the run folder. It lies in a folder that everybody may write to, so one that is already there
    counts only if it is a real folder of ours that nobody else may enter.
    """
    try:
        run.mkdir(mode=0o700)
    except FileExistsError:
        found = run.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise OperatorError(
                f"{run} exists and is not ours alone", f"look at it, then remove {run}"
            ) from None


def announce(layout: Layout) -> None:
    """Let commands on this machine find the data folder of an engine that they know by its port."""
    link = layout.run / "data"
    link.unlink(missing_ok=True)
    link.symlink_to(layout.data)


def announced() -> list[Path]:
    """The data folders of this user's engines on this machine."""
    root = layout_of(Path("/")).run.parent
    return [link.readlink() for link in root.glob(f"hb-{os.getuid()}-*/data") if link.is_symlink()]


def secret(path: Path, characters: int = 43) -> str:
    """The secret kept in a file of mode 0600, made on first use."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    value = secrets.token_urlsafe(characters)[:characters]
    keep_secret(path, value)
    return value


def keep_secret(path: Path, value: str) -> None:
    """Write a secret to a file that only its user may read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(value + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
