"""docs/protocol.md is the contract: where a machine can check that it is true, this does."""

import re
from pathlib import Path

from actors.protocol import CloseCode, ErrorCode
from serve_app.channel import Channel
from serve_app.connection import HARD_LIMIT_BYTES, SOFT_LIMIT_BYTES, STALL_LIMIT_S
from serve_app.frames import CODECS, DEPTH_LIMIT, MESSAGE_LIMIT_BYTES
from serve_app.limits import Limits
from serve_app.names import MODES
from serve_app.transports.picows import FRAME_LIMIT_BYTES
from serve_app.verbs import HISTORY_DEFAULT, VERBS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()
CODES = PAGE[PAGE.index("## 5.") : PAGE.index("## 6.")]


def test_every_error_code_stands_in_the_table_with_its_temporariness() -> None:
    rows = {int(code): text for code, text in re.findall(r"\| (1\d\d) \| ([^|]+)", CODES)}
    assert rows.keys() == set(ErrorCode)
    assert {code for code, text in rows.items() if "**T**" in text} == {c for c in ErrorCode if c.temporary}


def test_every_close_code_stands_in_the_table() -> None:
    assert {int(code) for code in re.findall(r"\| (3\d\d\d) \|", CODES)} == set(CloseCode)


def test_every_verb_and_channel_is_described() -> None:
    for verb in VERBS:
        assert f'"{verb}":' in PAGE or f"`{verb}`" in PAGE, verb
    for kind in MODES:
        assert re.search(rf"^\| `{kind}[:`]", PAGE, re.MULTILINE), kind
    for codec in CODECS:
        assert f"`{codec}`" in PAGE


def test_the_numbers_are_those_of_the_code() -> None:
    limits = Limits()
    for text in (
        f"at most **{MESSAGE_LIMIT_BYTES // 1024} KiB**",
        f"more than {FRAME_LIMIT_BYTES // 1024} KiB",
        f"nested at most {DEPTH_LIMIT} deep",
        f"within {limits.connect_s:g} s",
        f"every\n{limits.ping_s:g} s; the client answers `{{}}` within {limits.pong_s:g} s",
        f"at most {limits.subs} subscriptions",
        f"Up to {limits.commands_in_flight:,} commands",
        f"{limits.pub_per_s:g} publications/s ({limits.pub_burst:g} at once)",
        f"{limits.pos_per_s:g} positions/s ({limits.pos_burst:g})",
        f"{limits.ephemeral_per_s:g} ephemeral events/s ({limits.ephemeral_burst:g})",
        f"{limits.commands_per_s:g} other\ncommands/s ({limits.commands_burst:g})",
        f"({SOFT_LIMIT_BYTES // 1024} KiB waiting)",
        f"({HARD_LIMIT_BYTES // 1024**2} MiB waiting",
        f"nothing taken for {STALL_LIMIT_S:g} s",
        f"`limit` is {HISTORY_DEFAULT} unless given",
    ):
        assert text in PAGE, text


def test_pushes_begin_as_the_page_shows_them() -> None:
    assert Channel("room:x", 7).head == b'{"p":7,'
    assert '{"p":7,"m":' in PAGE
