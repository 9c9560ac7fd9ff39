"""The score that every message of a room can have in line: VADER, within 0.2 ms (NLP-1)."""

from nlp.language import has_emoji, is_english
from nlp.wording import EMOJI_STYLE, analyser, emoji_names

LETTERS_SCORED = 240
WORDS_SCORED = 40
WORDS_OF_AN_EMOJI = 4
EMOJI_SCORED = 4
"""From the start of a message. VADER was made for tweets, and what it costs grows faster than the message: it
reads an emoji as the words of its name.
"""


def inline(text: str) -> float | None:
    """Return VADER's compound sentiment in [-1, 1]; None abstains (NLP-9).

    It abstains from what is not English and from what has neither words nor emoji nor emoticons. Of a longer
    message the start is scored. No I/O, no state: safe in an actor's step. Hutto and Gilbert, "VADER: a
    parsimonious rule-based model for sentiment analysis of social media text", ICWSM 2014.
    """
    scored = start(text)
    english = is_english(scored)
    if english is False or (english is None and not _shows_feeling(scored)):
        return None
    return float(analyser().polarity_scores(scored)["compound"])


def start(text: str) -> str:
    """Return what is scored of a message: whole words, and all of it if it is short."""
    if len(text) > LETTERS_SCORED:
        text = text[: text.rfind(" ", LETTERS_SCORED // 2, LETTERS_SCORED) + 1 or LETTERS_SCORED]
    limit = WORDS_SCORED
    if not text.isascii():
        text, emoji = _few_emoji(text.replace(EMOJI_STYLE, ""))
        limit -= WORDS_OF_AN_EMOJI * emoji
    return text if text.count(" ") < limit else " ".join(text.split()[:limit])


def _few_emoji(text: str) -> tuple[str, int]:
    names = emoji_names()
    places = [place for place, letter in enumerate(text) if letter in names]
    if len(places) <= EMOJI_SCORED:
        return text, len(places)
    beyond = frozenset(places[EMOJI_SCORED:])
    return "".join(letter for place, letter in enumerate(text) if place not in beyond), EMOJI_SCORED


def _shows_feeling(text: str) -> bool:
    lexicon = analyser().lexicon
    return has_emoji(text) or any(piece.lower() in lexicon for piece in text.split())
