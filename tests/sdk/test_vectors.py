"""The Python client plays every protocol vector (sdk/vectors/README.md), as the TypeScript one does."""

import json
from pathlib import Path
from typing import Any

import pytest
from hereabouts_client.codec import Json, MessagePack
from hereabouts_client.core import Core
from hereabouts_client.events import Position
from hereabouts_client.options import Options, Subscribing
from sdk_hands.shown import shown

VECTORS = Path(__file__).resolve().parents[2] / "sdk" / "vectors"
WELCOME = {
    "sid": "s1", "key": "k1", "user": "me", "node": "head", "ping": 25, "pong": 8, "exp": 600,
    "resumed": False, "limits": {}, "time": 0,
}  # fmt: skip
COUNT_AT_LEAST = 60


def vectors() -> list[Any]:
    files = sorted(path for path in VECTORS.glob("*.json") if path.stem != "codec")
    return [
        pytest.param(vector, id=f"{file.stem}: {vector['name']}")
        for file in files
        for vector in json.loads(file.read_text())
    ]


class Player:
    """Does a vector's steps to a core."""

    def __init__(self, vector: dict[str, Any]) -> None:
        self.chance = list(vector.get("chance", []))
        self.sent: bool | None = None
        options = {"device": "d1", "sdk": "test/1", **vector.get("options", {})}
        self.core = Core(Options(**options), lambda: self.chance.pop(0))
        if "begin" in vector:
            begin = vector["begin"]
            for channel in begin.get("subscribe", []):
                self.do("subscribe", channel, 0)
            self.do("start", {}, 0)
            self.do("opened", "token-1", 0)
            given = {"subs": begin.get("subs", {}), "limits": begin.get("limits", {})}
            self.do("received", [{"id": 1, "connect": {**WELCOME, **given}}], 0)
            self.core.drain()

    def do(self, what: str, given: Any, at: int) -> None:
        core = self.core
        match what:
            case "start":
                core.start(at)
            case "stop":
                core.stop()
            case "opened":
                core.opened(given, at)
            case "failed":
                core.failed(given["reason"], at, final=given.get("final", False))
            case "received":
                core.received(given, at)
            case "closed":
                core.closed(given["code"], given["reason"], at)
            case "tick":
                core.tick(at)
            case "renewed":
                core.renewed(given["token"], at, final=given.get("final", False))
            case "subscribe":
                how = {name: value for name, value in given.items() if name != "channel"}
                if "since" in how:
                    how["since"] = Position(**how["since"])
                core.following.subscribe(given["channel"], Subscribing(**how), at)
            case "unsubscribe":
                core.following.unsubscribe(given, at)
            case "publish":
                core.publishing.publish(given["channel"], given["data"], given["cid"], given.get("ack"), at)
            case "ephemeral":
                self.sent = core.ephemeral(given["channel"], given["data"])
            case "command":
                core.command(given["ref"], given["verb"], given["body"], at)
            case "position":
                core.position(given["fix"], given.get("ref"), at)
            case _:
                raise AssertionError(f"no step {what}")

    def step(self, step: dict[str, Any]) -> None:
        expected = {"at", "out", "deadline", "rows", "refs", "sent"}
        (what,) = step.keys() - expected
        self.do(what, step[what], step["at"])
        assert [shown(output) for output in self.core.drain()] == step.get("out", []), step
        assert self.sent is step.get("sent"), step
        self.sent = None
        if "deadline" in step:
            assert self.core.deadline_ms == step["deadline"], step
        for name, rows in step.get("rows", {}).items():
            assert self.core.following.channels[name].rows == rows, step
        for name, refs in step.get("refs", {}).items():
            assert sorted(self.core.following.channels[name].metas) == refs, step


@pytest.mark.parametrize("vector", vectors())
def test_the_core_does_what_the_vector_says(vector: dict[str, Any]) -> None:
    player = Player(vector)
    for step in vector["steps"]:
        player.step(step)
    assert not player.chance, "random numbers are left over"


def test_there_are_vectors() -> None:
    assert len(vectors()) >= COUNT_AT_LEAST


@pytest.mark.parametrize("vector", json.loads((VECTORS / "codec.json").read_text()), ids=lambda v: v["name"])
def test_a_message_holds_these_frames(vector: dict[str, Any]) -> None:
    assert Json().decode(vector["message"]) == vector["frames"]
    for codec in (Json(), MessagePack()):
        assert [f for m in codec.encode(vector["frames"]) for f in codec.decode(m)] == vector["frames"]


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (Json(), '{"p":'),
        (Json(), b"{}"),
        (MessagePack(), b"\x80\x81\xa1p"),
        (MessagePack(), b"\xc1"),
        (MessagePack(), ""),
    ],
)
def test_a_message_that_is_none_is_a_value_error(codec: Json | MessagePack, message: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of json, of msgpack, or ours
        codec.decode(message)


@pytest.mark.parametrize("codec", [Json(), MessagePack()], ids=["json", "msgpack"])
def test_frames_share_messages_of_at_most_64_kib(codec: Json | MessagePack) -> None:
    frames = [{"id": n, "pub": {"d": "x" * 8_000}} for n in range(40)] + [
        {"id": 99, "pub": {"d": "y" * 70_000}}
    ]
    messages = codec.encode(frames)
    assert len(messages) == 6
    assert all(len(message) <= 65_536 for message in messages[:-1])
    assert [frame for message in messages for frame in codec.decode(message)] == frames
