from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors.tables import Table, revert

OPERATIONS = st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(-(2**63), 2**63))))


def filled(table: Table[int, int], operations: list[tuple[int, int | None]]) -> None:
    """Put each value; None deletes what is there."""
    for key, value in operations:
        if value is not None:
            table.put(key, value)
        elif key in table:
            table.delete(key)


def new_table(index: dict[int, int] | None = None) -> Table[int, int]:
    """A table, and an index that is kept by its changes."""

    def follow(key: int, before: int | None, after: int | None) -> None:
        assert index is not None
        assert index.get(key) == before
        if after is None:
            index.pop(key, None)
        else:
            index[key] = after

    return Table("numbers", int, int, durable=False, on_change=follow if index is not None else None)


@given(OPERATIONS, OPERATIONS)
def test_reverting_the_changes_restores_the_rows(
    before: list[tuple[int, int | None]], after: list[tuple[int, int | None]]
) -> None:
    """Whatever was done, undoing it gives the rows, and what is derived from them, as they were."""
    index: dict[int, int] = {}
    table = new_table(index)
    filled(table, before)
    rows = dict(table.items())
    start = len(table.changes)
    filled(table, after)
    revert(table.changes[start:])
    assert dict(table.items()) == index == rows


@given(OPERATIONS)
def test_the_noted_changes_make_the_same_rows_again(operations: list[tuple[int, int | None]]) -> None:
    """A table restored from encoded changes equals the one that noted them."""
    table = new_table()
    filled(table, operations)
    index: dict[int, int] = {}
    again = new_table(index)
    for change in table.changes:
        key, after = msgspec.msgpack.decode(msgspec.msgpack.encode((change.key, change.after)))
        again.restore(again.decode_key(key), None if after is None else again.decode_record(after))
    assert dict(again.items()) == index == dict(table.items())
    assert not again.changes


def test_keys_and_records_get_their_types_back() -> None:
    """Tuples and structs survive the way through MessagePack."""

    class Row(msgspec.Struct, frozen=True):
        a: int

    table: Table[Any, Any] = Table("rows", tuple[str, int], Row, durable=True)
    key, row = msgspec.msgpack.decode(msgspec.msgpack.encode((("k", 1), Row(2))))
    table.restore(table.decode_key(key), table.decode_record(row))
    assert table.get(("k", 1)) == Row(2)
    assert list(table) == [("k", 1)]
    assert list(table.values()) == [Row(2)]
    assert len(table) == 1
