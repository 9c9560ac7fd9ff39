"""CPU time of a whole process tree, from /proc.

A process' own time (utime + stime) plus that of its children that ended and were waited for (cutime +
cstime), over all living processes of the tree: nothing is counted twice, and nothing that ended is lost.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> tuple[str, int, float] | None:
    """(name, parent, CPU seconds) of a process; None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return name, int(fields[1]), sum(map(int, fields[11:15])) / _TICKS_PER_S


def _title(pid: int, name: str) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return name
    for known in ("hereabouts-", "ray::", "gcs_server", "raylet", "haproxy", "postgres", "valkey"):
        if known in command:
            start = command.index(known)
            return command[start : start + 40].split(" ")[0].split("/")[0]
    return name


def tree_s(*roots: int) -> dict[int, tuple[str, float]]:
    """CPU seconds so far of `roots` and all their descendants: pid → (title, seconds)."""
    found: dict[int, tuple[str, int, float]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            found[int(entry.name)] = stat
    children: dict[int, list[int]] = {}
    for pid, (_, parent, _) in found.items():
        children.setdefault(parent, []).append(pid)
    tree: dict[int, tuple[str, float]] = {}
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in found:
            tree[pid] = (_title(pid, found[pid][0]), found[pid][2])
            waiting += children.get(pid, [])
    return tree


@dataclass(frozen=True, slots=True)
class Memory:
    """Of the trees' processes, in KiB: what they hold in all (each shared page by its share), and of it what
    is anonymous, which does not change when another program on the machine maps the same libraries.
    """

    proportional: int
    anonymous: int
    anonymous_by_title: dict[str, int]


def memory_kib(*roots: int) -> Memory:
    """From /proc/*/smaps_rollup."""
    proportional = 0
    by_title: dict[str, int] = {}
    for pid, (title, _) in tree_s(*roots).items():
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        proportional += int(text.partition("\nPss:")[2].split()[0])
        by_title[title] = by_title.get(title, 0) + int(text.partition("\nPss_Anon:")[2].split()[0])
    return Memory(proportional, sum(by_title.values()), by_title)


class TreeClock:
    """How much CPU some trees used since the clock was started, in all and by title."""

    def __init__(self, *roots: int) -> None:
        self._roots = roots
        self._start = tree_s(*roots)
        if not self._start.keys() >= set(roots):
            raise ProcessLookupError(f"not all of {roots} run")

    def used_s(self) -> tuple[float, dict[str, float]]:
        """(all, by title), in CPU seconds."""
        now = tree_s(*self._roots)
        total = sum(s for _, s in now.values()) - sum(s for _, s in self._start.values())
        by_title: dict[str, float] = {}
        for pid, (title, seconds) in now.items():
            used = seconds - self._start.get(pid, ("", 0.0))[1]
            if used > 0:
                by_title[title] = round(by_title.get(title, 0.0) + used, 3)
        return total, dict(sorted(by_title.items(), key=lambda item: -item[1]))
