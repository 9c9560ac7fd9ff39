"""How a message is read: the same for training, serving and every head."""

import html
import re
from functools import cache

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

LETTERS_READ = 2_000
"""Of one message; what stands after them is not read."""

EMOJI_STYLE = "\N{VARIATION SELECTOR-16}"
"""Follows a sign that is to be drawn in colour; VADER takes it for a letter of the name."""

APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_DRAWN_OUT = re.compile(r"(.)\1{3,}")
_LINK = re.compile(r"https?://\S+|www\.\S+")
_MENTION = re.compile(r"@\w+|https?://\S+")
_SPACES = re.compile(r"\s+")


@cache
def analyser() -> SentimentIntensityAnalyzer:
    """Return VADER with its lexicons read, once in a process (Hutto and Gilbert 2014)."""
    return SentimentIntensityAnalyzer()


@cache
def emoji_names() -> dict[str, str]:
    """Return what each emoji is called: "😂" is "face with tears of joy" (VADER's table)."""
    return {emoji: name for emoji, name in analyser().emojis.items() if len(emoji) == 1}


@cache
def _by_code() -> dict[int, str]:
    return {ord(emoji): f" {name} " for emoji, name in emoji_names().items()}


def plain(text: str) -> str:
    """Return the text as the encoder reads it.

    Entities are resolved, emoji named (the vocabulary has none), links become `http`, what is drawn out keeps
    three letters, white space is one blank. Nothing else: case and hashtags are the tokenizer's business.
    """
    text = html.unescape(text[:LETTERS_READ]).replace("\\n", " ").replace("\\", "")
    if not text.isascii():
        text = text.replace(EMOJI_STYLE, "").translate(_by_code())
    text = _LINK.sub("http", text)
    return _SPACES.sub(" ", _DRAWN_OUT.sub(r"\1\1\1", text)).strip()


def words(text: str) -> list[str]:
    """Return the words in lower case: letters of any script, apostrophes inside kept; no names after an @."""
    read = _MENTION.sub(" ", text[:LETTERS_READ]).replace(APOSTROPHE, "'")
    return WORD.findall(read.lower())
