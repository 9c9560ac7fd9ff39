"""What a message can be scored with in line, and what it abstains from."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from nlp.language import is_english
from nlp.sentiment import (
    EMOJI_SCORED,
    LETTERS_SCORED,
    WORDS_OF_AN_EMOJI,
    WORDS_SCORED,
    inline,
    start,
)

ELSEWHERE = (
    "Das war wirklich ein sehr schöner Abend mit euch",
    "ich habe heute keine lust mehr",
    "Muchas gracias por todo, nos vemos mañana",
    "no puedo creer lo que hiciste anoche",
    "Je ne sais pas quoi faire ce soir",
    "Não acredito que você fez isso comigo",
    "Che bella giornata, grazie a tutti",
    "Ik heb er geen zin meer in vandaag",
    "Bugün hava çok güzel, nereye gidelim",
    "Nie wiem co mam dzisiaj robić",
    "Aku tidak tahu harus bagaimana lagi",
    "Jag är så trött på det här",
    "これはとても素晴らしい一日でした",
    "Это был просто ужасный день",
    "오늘 정말 행복했어요",
    "هذا يوم جميل جدا",
    "आज का दिन बहुत अच्छा था",
    "今天真的很开心",
)
ENGLISH = (
    "I can't believe you did that, what a night!",
    "lol ok",
    "thx",
    "Worst. Day. Ever.",
    "idk man, the café was closed again",
    "haha you're such a dork 😂",
    "die hard is on tonight",
    "@user de nada means you're welcome, right?",
)


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_is_not_english_is_not_scored(text):
    assert is_english(text) is False
    assert inline(text) is None


@pytest.mark.parametrize("text", ENGLISH)
def test_what_is_english_is_scored_as_vader_scores_it(text):
    assert is_english(text) is True
    assert inline(text) == SentimentIntensityAnalyzer().polarity_scores(text)["compound"]


@pytest.mark.parametrize("text", ["", "   ", "12345", "...", "@user", "https://example.org/a"])
def test_what_has_no_words_is_not_scored(text):
    assert inline(text) is None


def test_emoji_and_emoticons_alone_are_scored():
    assert inline("😂") > 0.3
    assert inline(":(") < -0.3
    assert inline("❤️") == inline("❤") > 0.3  # drawn in colour or not


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=600))
def test_any_text_has_a_score_between_minus_one_and_one_or_none(text):
    score = inline(text)
    assert score is None or -1 <= score <= 1
    assert len(start(text)) <= LETTERS_SCORED


@given(st.integers(1, 50))
def test_of_a_long_message_the_start_is_scored(count):
    opening = "this is a good day " * 12
    assert len(opening) < LETTERS_SCORED
    assert start(opening + " and so it goes" * count).startswith("this is a good day")
    assert inline(opening + "terrible " * 100 * count) == inline(opening + "terrible " * 200)


@pytest.mark.parametrize("wild", ["bad " * 9_000, "😂" * 9_000, "so bad 😂 " * 9_000, "a" * 99_000])
def test_what_vader_is_given_of_a_message_is_bounded(wild):
    """What it costs grows faster than the words; benchmarks/text_scoring.py has the time (NLP-1)."""
    given_to_it = start(wild)
    assert len(given_to_it) <= LETTERS_SCORED
    emoji = given_to_it.count("😂")
    assert len(given_to_it.split()) + WORDS_OF_AN_EMOJI * emoji <= WORDS_SCORED + 2 * EMOJI_SCORED
