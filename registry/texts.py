"""Texts that come from others, as they are shown to people, and those that can be sent as they are."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""A text that stays on its line and cannot command a terminal, with nothing of it lost.

    >>> printable("gpu\x1b[31m-1")
    'gpu\\x1b[31m-1'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def sentence_of(text: str, most_chars: int) -> str:
    r"""A text as part of a sentence: one line, no control characters, at most so many characters.

    >>> sentence_of("no\n\x1b[31m way", 300), sentence_of("a" * 100, 10)
    ('no ?[31m way', 'aaaaaaa...')
    """
    line = " ".join(text[: 4 * most_chars].split())
    shown = "".join(one if one.isprintable() else "?" for one in line)
    return shown if len(shown) <= most_chars else shown[: most_chars - 3] + "..."


def is_one_ascii_line(text: str) -> bool:
    """Whether a text, such as a key, can stand in a header field."""
    return text.isascii() and text.isprintable()
