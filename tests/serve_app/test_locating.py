"""A message that is one `pos` frame takes a short way, and means what it means on the ordinary one."""

import json
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.commands import Fix, Milliseconds
from serve_app.frames import JSON, PACKED, Codec, FrameId, MalformedError, UndecodableError
from serve_app.locating import LIMIT_BYTES, only_a_fix
from serve_app.verbs import VERBS

CODECS = pytest.mark.parametrize("codec", [JSON, PACKED], ids=["json", "msgpack"])
VALUES: Any = (
    st.none()
    | st.booleans()
    | st.integers(-3, 2**53)
    | st.floats(-200, 200)
    | st.sampled_from(["", "x", '"'])
)
FIXES = st.lists(VALUES, max_size=8)
FRAMES = st.dictionaries(
    st.sampled_from(["pos", "id", "seq", "d", "extra", '"', *VERBS]), VALUES | FIXES, max_size=4
)
GOOD = st.fixed_dictionaries(
    {"pos": st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.floats(1, 99), st.integers(0, 2**41))},
    optional={"id": st.integers(0, 2**32 - 1), "seq": st.none() | st.integers(0, 2**41)},
)


def encoded(codec: Codec, frame: Any) -> bytes:
    return msgpack.packb(frame) if codec.packed else json.dumps(frame).encode()


def ordinary(codec: Codec, payload: bytes) -> tuple[Any, ...] | None:
    """What the ordinary way takes the message for: (fix, id, seq), None where it is anything else."""
    try:
        (frame,) = codec.frames(payload)
        envelope = codec.envelope(frame)
        if "pos" not in envelope or len(VERBS.keys() & envelope.keys()) != 1:
            return None
        frame_id = codec.decode(envelope["id"], FrameId) if "id" in envelope else None
        seq = codec.decode(envelope["seq"], Milliseconds | None) if "seq" in envelope else None
        return codec.decode(envelope["pos"], Fix), frame_id, seq
    except (MalformedError, UndecodableError, ValueError):
        return None


def short(codec: Codec, payload: bytes) -> tuple[Any, ...] | None:
    frame = only_a_fix(payload, packed=codec.packed)
    if frame is None:
        return None
    return frame.pos, *(None if each is msgspec.UNSET else each for each in (frame.id, frame.seq))


@CODECS
@given(frame=FRAMES | GOOD, others=st.lists(FRAMES | GOOD, max_size=1))
def test_what_is_taken_for_a_fix_is_that_fix_on_the_ordinary_way(
    codec: Codec, frame: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    parts = [encoded(codec, each) for each in (frame, *others)]
    payload = (b"" if codec.packed else b"\n").join(parts)
    taken = short(codec, payload)
    assert taken is None or taken == ordinary(codec, payload)


@CODECS
@given(frame=GOOD)
def test_every_frame_that_a_device_writes_is_taken(codec: Codec, frame: dict[str, Any]) -> None:
    payload = encoded(codec, frame)
    assert short(codec, payload) == ordinary(codec, payload) is not None


@pytest.mark.parametrize(
    "payload",
    [
        b'{"pos":[1,2,3,4],"id":1,"id":2}',
        b'{"pos":[1,2,3,4],"unsub":{"ch":"me"}}',
        b'{"pos":[1,2,3,4],"e":7}',
        b'{"pos":[1,2,3,4],"id":null}',
        b'{"pos":[1,2,3,4]}\n{"pos":[1,2,3,5]}',
        b'{"pos":[1,2,3,4],"id":\xff}',
        b'{"pos":[1,2,NaN,4]}',
        b'{"pos":[1,2,3,4' + b" " * LIMIT_BYTES + b"]}",
    ],
)
def test_what_is_more_than_a_fix_or_none_takes_the_ordinary_way(payload: bytes) -> None:
    assert only_a_fix(payload, packed=False) is None


@CODECS
def test_the_reply_is_what_the_codec_would_write(codec: Codec) -> None:
    for frame_id in (0, 7, 2**32 - 1):
        assert codec.located(frame_id) == codec.encode({"id": frame_id, "pos": {"ok": True}})
