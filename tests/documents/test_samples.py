"""The two sample corpora are real text: labelled, balanced enough, and nobody's message is said twice."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "annotation" / "samples"
MESSAGES = SAMPLES / "customer_messages.csv"
REVIEWS = SAMPLES / "product_reviews_zh.csv"

both = pytest.mark.parametrize("path", [MESSAGES, REVIEWS], ids=lambda path: path.stem)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def texts_of(path: Path) -> list[str]:
    return [row["text"] for row in read_rows(path)]


def char_ngrams(text: str, n: int) -> set[str]:
    folded = " ".join(text.lower().split())
    return {folded[i : i + n] for i in range(len(folded) - n + 1)}


def word_ngrams(text: str, n: int) -> set[str]:
    words = re.findall(r"[a-z0-9']+", text.lower())
    return {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}


def near_duplicates(texts: Iterable[str], *, n: int, limit: float) -> list[tuple[str, str]]:
    """Pairs of texts whose sets of character n-grams have a Jaccard similarity of `limit` or more."""
    grams = [(text, char_ngrams(text, n)) for text in texts]
    return [(a, b) for (a, x), (b, y) in combinations(grams, 2) if len(x & y) >= limit * len(x | y)]


@both
def test_a_sample_file_is_utf8_without_byte_order_mark_and_with_unix_line_ends(path: Path) -> None:
    raw = path.read_bytes()
    raw.decode("utf-8")
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in raw
    assert raw.endswith(b"\n")


@pytest.mark.parametrize(
    ("path", "columns"),
    [(MESSAGES, ["id", "text", "channel", "topic"]), (REVIEWS, ["id", "text", "product", "sentiment"])],
)
def test_a_sample_has_its_columns_and_no_empty_cell(path: Path, columns: list[str]) -> None:
    for row in read_rows(path):
        assert list(row) == columns
        assert all(value and value == value.strip() for value in row.values()), row


@pytest.mark.parametrize(
    ("path", "first", "last"), [(MESSAGES, "CM-0001", "CM-0400"), (REVIEWS, "ZH-001", "ZH-200")]
)
def test_ids_are_unique_and_run_without_a_gap(path: Path, first: str, last: str) -> None:
    ids = [row["id"] for row in read_rows(path)]
    assert (ids[0], ids[-1]) == (first, last)
    assert ids == sorted(set(ids))
    assert len(ids) == int(last.split("-")[1])


def test_the_messages_have_four_topics_in_these_numbers() -> None:
    topics = Counter(row["topic"] for row in read_rows(MESSAGES))
    assert topics == {"billing": 112, "delivery": 103, "product quality": 95, "account access": 90}


def test_every_topic_arrives_through_every_channel() -> None:
    rows = read_rows(MESSAGES)
    seen = {(row["topic"], row["channel"]) for row in rows}
    assert {channel for _, channel in seen} == {"email", "chat", "app review", "phone note"}
    assert len(seen) == 4 * 4


def test_the_reviews_have_two_sentiments_in_these_numbers() -> None:
    sentiments = Counter(row["sentiment"] for row in read_rows(REVIEWS))
    assert sentiments == {"好评": 104, "差评": 96}


@pytest.mark.parametrize(("path", "label"), [(MESSAGES, "topic"), (REVIEWS, "sentiment")])
def test_labels_are_interleaved_so_that_the_first_rows_show_all_of_them(path: Path, label: str) -> None:
    rows = read_rows(path)
    assert {row[label] for row in rows[:20]} == {row[label] for row in rows}


def test_messages_are_between_5_and_45_words_long() -> None:
    lengths = [len(text.split()) for text in texts_of(MESSAGES)]
    assert min(lengths) >= 5
    assert max(lengths) <= 45


def test_reviews_are_between_6_and_60_characters_long() -> None:
    lengths = [len(text) for text in texts_of(REVIEWS)]
    assert min(lengths) >= 6
    assert max(lengths) <= 60


@both
def test_no_text_is_there_twice(path: Path) -> None:
    counts = Counter(" ".join(text.lower().split()) for text in texts_of(path))
    assert [text for text, count in counts.items() if count > 1] == []


@pytest.mark.parametrize(("path", "n"), [(MESSAGES, 5), (REVIEWS, 3)])
def test_no_two_texts_are_near_duplicates(path: Path, n: int) -> None:
    assert near_duplicates(texts_of(path), n=n, limit=0.35) == []


def test_a_message_with_only_its_nouns_swapped_would_be_found() -> None:
    kettle = "The kettle that I ordered from you last week is broken, please send me a new one."
    toaster = "The toaster that I ordered from you last month is broken, please send me a new one."
    other = "where is my parcel, it says out for delivery since tuesday"
    assert near_duplicates([kettle, other, toaster], n=5, limit=0.35) == [(kettle, toaster)]


def test_no_more_than_four_messages_open_with_the_same_three_words() -> None:
    openings = Counter(" ".join(text.lower().split()[:3]) for text in texts_of(MESSAGES))
    assert {words: count for words, count in openings.items() if count > 4} == {}


def test_no_five_words_in_a_row_are_in_more_than_three_messages() -> None:
    phrases = Counter(phrase for text in texts_of(MESSAGES) for phrase in word_ngrams(text, 5))
    assert {phrase: count for phrase, count in phrases.items() if count > 3} == {}


def test_a_product_alone_does_not_tell_the_sentiment_of_its_review() -> None:
    rows = read_rows(REVIEWS)
    liked = {row["product"] for row in rows if row["sentiment"] == "好评"}
    disliked = {row["product"] for row in rows if row["sentiment"] == "差评"}
    assert len(liked & disliked) >= 0.9 * len(liked | disliked)
