import math
from typing import Any

import pytest

from actors.errors import MissingMainGuard, SupervisorError
from actors.processes import functions


def test_a_packed_call_is_opened_as_it_was() -> None:
    """Function, arguments and keyword arguments come back."""
    call = functions.unpack(functions.pack(math.hypot, (3, 4), {}))
    assert call.function(*call.args, **call.kwargs) == 5
    call = functions.unpack(functions.pack(int, ("ff",), {"base": 16}))
    assert call.function(*call.args, **call.kwargs) == 255


@pytest.mark.parametrize(("function", "args"), [(lambda: None, ()), (math.hypot, (lambda: 1,))])
def test_what_cannot_travel_is_refused_where_it_is_packed(function: Any, args: tuple[Any, ...]) -> None:
    """The error says what a function must be like."""
    with pytest.raises(SupervisorError, match="must be picklable"):
        functions.pack(function, args, {})


@pytest.mark.parametrize("function", [5, None, "x" * 1_000])
def test_what_is_no_function_is_refused(function: Any) -> None:
    """The error shows what was given instead, shortened."""
    with pytest.raises(SupervisorError, match="what a worker process runs must be a function, not ") as raised:
        functions.pack(function, (), {})
    assert repr(function)[:100] in str(raised.value)
    assert len(str(raised.value)) < 300


class _Starting:
    """Starts a system when it is opened, as the import of a script without main guard does."""

    def __reduce__(self) -> Any:
        return functions.refuse_nested_start, ()


def test_a_start_while_the_main_module_is_imported_is_refused() -> None:
    """The error names the remedy; at any other time a start is allowed."""
    with pytest.raises(MissingMainGuard, match="__main__"):
        functions.unpack(functions.pack(math.hypot, (_Starting(),), {}))
    functions.refuse_nested_start()
