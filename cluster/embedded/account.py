"""Whom the embedded servers run as, and how they reach their folder.

Postgres refuses to run as root, and a server that need not be root should not be. Started by root they run as
the system user `hereabouts` if the machine has one, else as `nobody`. Their folder may lie below one that
only root can enter: they get an open descriptor of it and name it /proc/self/fd/N, which needs no way in.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import OperatorError

CANDIDATES = ("hereabouts", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int


def server_account() -> Account | None:
    """The account to drop to; None when this process is an ordinary user and the servers run as that."""
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError:
            raise OperatorError(
                f"uid {os.geteuid()} has no entry in the user database, and Postgres' initdb needs one",
                "run as a user that exists, or add the uid to /etc/passwd",
            ) from None
        return None
    for name in CANDIDATES:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid != 0:
            return Account(found.pw_uid, found.pw_gid)
    raise OperatorError(
        "started by root, and there is no unprivileged user to run Postgres as",
        "create one: useradd --system hereabouts",
    )


@dataclass(frozen=True, slots=True)
class Folder:
    """A server's own folder, as this process sees it (`path`) and as the server does (`inside`)."""

    path: Path
    account: Account | None
    descriptor: int | None

    @property
    def inside(self) -> str:
        return str(self.path) if self.descriptor is None else f"/proc/self/fd/{self.descriptor}"

    @property
    def pass_fds(self) -> tuple[int, ...]:
        return () if self.descriptor is None else (self.descriptor,)

    def give(self, path: Path) -> None:
        """Make the server the owner of something that we put there."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)


@contextmanager
def open_folder(path: Path, account: Account | None) -> Iterator[Folder]:
    """The server's folder, created if missing, of mode 0700 and its own."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise OperatorError(f"{path} is not a folder")
    if account is None:
        if found.st_uid != os.geteuid():
            raise OperatorError(
                f"{path} belongs to user {found.st_uid}",
                "run as that user (or as root), or choose another --data",
            )
        yield Folder(path, None, None)
        return
    if found.st_uid != account.uid:
        _adopt(path, account)
    path.chmod(0o700)
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield Folder(path, account, descriptor)
    finally:
        os.close(descriptor)


def _adopt(path: Path, account: Account) -> None:
    """Take over a folder that an ordinary user or another account's server made."""
    for parent, folders, files in os.walk(path, followlinks=False):
        for name in (".", *folders, *files):
            os.chown(Path(parent) / name, account.uid, account.gid, follow_symlinks=False)
