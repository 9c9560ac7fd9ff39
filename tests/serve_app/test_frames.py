"""The wire codec: what is refused, and that what is let in can be decoded by everybody (protocol §1)."""

import json
import math
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app import commands
from serve_app.connection import joined
from serve_app.frames import (
    DEPTH_LIMIT,
    HEADROOM,
    JSON,
    MESSAGE_LIMIT_BYTES,
    PACKED,
    Codec,
    MalformedError,
    UndecodableError,
    canonical_json,
    chosen_codec,
)
from serve_app.verbs import VERBS

CODECS = pytest.mark.parametrize("codec", [JSON, PACKED], ids=["json", "msgpack"])

leaves = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10)
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
frames = st.dictionaries(st.text(max_size=5), values, max_size=3)


def encoded(codec: Codec, value: Any) -> bytes:
    return msgpack.packb(value) if codec.packed else json.dumps(value).encode()


def body(codec: Codec, value: Any) -> msgspec.Raw:
    return msgspec.Raw(encoded(codec, value))


@CODECS
@given(sent=st.lists(frames, max_size=4))
def test_a_message_is_split_into_its_frames(codec: Codec, sent: list[dict[str, Any]]) -> None:
    parts = [encoded(codec, frame) for frame in sent]
    payload = (b"" if codec.packed else b"\n").join(parts)
    assert codec.frames(payload) == [part for part in parts if part] or not sent


@given(payload=st.binary(max_size=100))
def test_random_bytes_are_split_or_undecodable_and_never_more_than_they_are(payload: bytes) -> None:
    for codec in (JSON, PACKED):
        try:
            parts = codec.frames(payload)
        except UndecodableError:
            continue
        assert sum(map(len, parts)) <= len(payload)
        for part in parts:
            try:
                envelope = codec.envelope(part)
            except MalformedError:
                continue
            for name, raw in envelope.items():
                verb = VERBS.get(name)
                if verb is not None:
                    try:
                        codec.decode(raw, verb.body)
                    except MalformedError:
                        continue


@pytest.mark.parametrize(
    "payload", [b"\xc1", b"\x81", b"\x80\xda\xff", b"\x91" * 2000, b"\xdd\xff\xff\xff\xff"]
)
def test_broken_messagepack_is_undecodable(payload: bytes) -> None:
    with pytest.raises(UndecodableError):
        PACKED.frames(payload)


def test_text_that_is_no_utf8_is_undecodable() -> None:
    with pytest.raises(UndecodableError):
        JSON.frames(b'{"a":"\xff"}')


def test_empty_lines_between_frames_are_nothing() -> None:
    assert JSON.frames(b'\n{"id":1}\n \r\n{}\n') == [b'{"id":1}', b"{}"]


@CODECS
@pytest.mark.parametrize("value", [1, "x", None, [], [1], True])
def test_a_frame_is_a_map(codec: Codec, value: Any) -> None:
    with pytest.raises(MalformedError):
        codec.envelope(encoded(codec, value))


def test_a_key_of_a_messagepack_frame_is_a_string() -> None:
    with pytest.raises(MalformedError):
        PACKED.envelope(msgpack.packb({1: 2}))


@CODECS
@given(value=values)
def test_a_body_keeps_its_value(codec: Codec, value: Any) -> None:
    assert json.loads(codec.canonical(body(codec, value))) == value


@given(value=values)
def test_both_encodings_of_a_body_are_the_same_inside(value: Any) -> None:
    assert JSON.canonical(body(JSON, value)) == PACKED.canonical(body(PACKED, value))


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40, [10**30], {"a": [{"b": 2**70}]}])
def test_an_integer_past_64_bits_becomes_a_float_and_crashes_nobody(number: Any) -> None:
    text = JSON.canonical(body(JSON, number))
    assert json.loads(text) == json.loads(
        json.dumps(number), parse_int=lambda s: float(s) if len(s) > 10 else int(s)
    )
    assert msgpack.unpackb(PACKED.from_json(text)) == json.loads(text)


@pytest.mark.parametrize(
    "text", [b"1e400", b"-1e400", b"1" * 400, b"NaN", b"Infinity", b'"\\ud800"', b'"\\udc00x"']
)
def test_json_that_others_could_not_read_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedError):
        JSON.canonical(msgspec.Raw(text))


@pytest.mark.parametrize(
    "value",
    [
        b"bin", {"a": b"bin"}, {"a": [b""]}, {1: 2}, {"a": {None: 1}}, msgpack.Timestamp(1, 0),
        [msgpack.ExtType(5, b"x")], math.nan, {"a": math.inf}, [-math.inf],
    ],
)  # fmt: skip
def test_what_json_can_not_say_is_refused_in_messagepack(value: Any) -> None:
    with pytest.raises(MalformedError):
        PACKED.canonical(msgspec.Raw(msgpack.packb(value, strict_types=False)))


@CODECS
def test_a_body_nests_so_deep_and_no_deeper(codec: Codec) -> None:
    deep: Any = 1
    for _ in range(DEPTH_LIMIT):
        deep = [deep]
    assert codec.canonical(body(codec, deep)) == json.dumps(deep).encode()
    for much_deeper in ([deep], {"a": deep}):
        with pytest.raises(MalformedError):
            codec.canonical(body(codec, much_deeper))


def test_many_brackets_that_do_not_nest_are_fine() -> None:
    wide = [[], {}] * 100
    assert json.loads(JSON.canonical(body(JSON, wide))) == wide


def test_a_body_of_brackets_only_is_refused_and_not_followed_down() -> None:
    with pytest.raises(MalformedError):
        JSON.canonical(msgspec.Raw(b"[" * 30_000 + b"]" * 30_000))


def test_a_messagepack_client_gets_floats_for_integers_that_it_can_not_have() -> None:
    assert msgpack.unpackb(PACKED.encode({"a": [2**64, -(2**70)], "b": 2**64 - 1})) == {
        "a": [2.0**64, -(2.0**70)],
        "b": 2**64 - 1,
    }


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, "1", True])
def test_a_fix_is_of_finite_numbers(place: int, number: Any) -> None:
    fix: list[Any] = [1.0, 2.0, 3.0, 4, 5.0, 6.0]
    fix[place] = number
    with pytest.raises(MalformedError):
        PACKED.decode(body(PACKED, fix), commands.Fix)


def test_fields_that_nobody_knows_are_ignored() -> None:
    sub = JSON.decode(body(JSON, {"ch": "me", "colour": "red", "mode": None}), commands.Sub)
    assert (sub.ch, sub.mode) == ("me", None)


@pytest.mark.parametrize(
    ("offered", "name"),
    [
        (["rt.v1.msgpack", "rt.v1.json"], "rt.v1.msgpack"),
        (["rt.v9", "rt.v1.json"], "rt.v1.json"),
        (["chat"], None),
        ([], None),
    ],
)
def test_the_first_offered_protocol_that_is_known_is_chosen(offered: list[str], name: str | None) -> None:
    codec, chosen = chosen_codec(offered)
    assert chosen == name
    assert codec.name == (name or "rt.v1.json")


@CODECS
@given(sent=st.lists(frames, min_size=1, max_size=6))
def test_joined_frames_come_apart_again(codec: Codec, sent: list[dict[str, Any]]) -> None:
    message = codec.message([codec.encode(frame) for frame in sent])
    assert bytes(message[:HEADROOM]) == bytes(HEADROOM)
    parts = codec.frames(bytes(message[HEADROOM:]))
    decode = msgpack.unpackb if codec.packed else json.loads
    assert [decode(part) for part in parts] == sent


@CODECS
@pytest.mark.parametrize("sizes", [[10], [60_000, 6_000], [70_000], [1, 70_000, 1], [30_000] * 5])
def test_joined_messages_are_bounded_unless_one_frame_is_longer(codec: Codec, sizes: list[int]) -> None:
    sent = [codec.encode("x" * size) for size in sizes]
    messages = joined(codec, sent)
    assert [part for m in messages for part in codec.frames(bytes(m[HEADROOM:]))] == sent
    for message in messages:
        parts = codec.frames(bytes(message[HEADROOM:]))
        assert len(message) - HEADROOM <= MESSAGE_LIMIT_BYTES or len(parts) == 1


def test_canonical_json_refuses_what_no_float_can_hold() -> None:
    with pytest.raises(ValueError, match="out of range"):
        canonical_json(10**400)
