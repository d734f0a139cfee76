"""Rows straight from the pages of a SQLite file, where the pages that lead to them are damaged.

The format is that of https://www.sqlite.org/fileformat2.html, sections 1.5, 1.6 and 2.1.
"""

from __future__ import annotations

from collections.abc import Iterator

PAGE_BYTES = 4096
"""SQLite's page size, as this program uses it."""

_TABLE_LEAF = 13
_MOST_IN_PAGE = PAGE_BYTES - 35
_LEAST_IN_PAGE = (PAGE_BYTES - 12) * 32 // 255 - 23


class _Nonsense(Exception):
    """What looked like a row is none."""


def rows_in_pages(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The rows of two texts in all pages that are in use: row number and texts. Each may come more than once."""
    free = _free_pages(content)
    for number in range(2, len(content) // PAGE_BYTES + 1):
        page = _page(content, number)
        if number in free or page[0] != _TABLE_LEAF:
            continue
        for at in range(8, min(8 + 2 * _number(page[3:5]), PAGE_BYTES), 2):
            try:
                yield _row(content, page, _number(page[at : at + 2]))
            except (_Nonsense, IndexError):
                continue


def _number(some: bytes) -> int:
    return int.from_bytes(some, "big")


def _page(content: bytes, number: int) -> bytes:
    page = content[(number - 1) * PAGE_BYTES : number * PAGE_BYTES]
    if number < 1 or len(page) < PAGE_BYTES:
        raise _Nonsense
    return page


def _free_pages(content: bytes) -> set[int]:
    """Pages that hold what was deleted."""
    free: set[int] = set()
    trunk = _number(content[32:36])
    try:
        while trunk and trunk not in free:
            page = _page(content, trunk)
            count = min(_number(page[4:8]), PAGE_BYTES // 4 - 2)
            free.add(trunk)
            free.update(_number(page[at : at + 4]) for at in range(8, 8 + 4 * count, 4))
            trunk = _number(page[:4])
    except _Nonsense:
        pass
    return free


def _row(content: bytes, page: bytes, at: int) -> tuple[int, bytes, bytes]:
    length, at = _varint(page, at)
    rowid, at = _varint(page, at)
    payload = _payload(content, page, at, length)
    header, at = _varint(payload, 0)
    first, at = _varint(payload, at)
    second, at = _varint(payload, at)
    if at != header or first < 13 or second < 13 or not first % 2 or not second % 2:
        raise _Nonsense  # a text of n bytes has the type 13 + 2 n
    end_of_first = header + (first - 13) // 2
    if end_of_first + (second - 13) // 2 != length:
        raise _Nonsense
    return rowid, payload[header:end_of_first], payload[end_of_first:length]


def _payload(content: bytes, page: bytes, at: int, length: int) -> bytes:
    """The bytes of a row: in its page, and if they are too many for that, in a chain of others."""
    if length <= _MOST_IN_PAGE:
        payload = page[at : at + length]
    else:
        here = _LEAST_IN_PAGE + (length - _LEAST_IN_PAGE) % (PAGE_BYTES - 4)
        if here > _MOST_IN_PAGE:
            here = _LEAST_IN_PAGE
        parts = [page[at : at + here]]
        missing = length - here
        follows = _number(page[at + here : at + here + 4])
        while missing > 0:
            further = _page(content, follows)
            parts.append(further[4 : 4 + missing])
            missing -= PAGE_BYTES - 4
            follows = _number(further[:4])
        payload = b"".join(parts)
    if len(payload) != length:
        raise _Nonsense
    return payload


def _varint(some: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for _ in range(8):
        byte = some[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | some[at], at + 1
