from collections.abc import Callable

from actors.spinning import MOST_SKIPPED, SPIN_S, Spinning


class Waits:
    """Waits on a clock that moves by a quarter of the time at each look."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0
        self.spinning = Spinning(lambda: self.now)

    def wait(self, sees: Callable[[], object]) -> int:
        """Wait once; how often it looked."""
        before = self.looks

        def look() -> object:
            self.looks += 1
            self.now += SPIN_S / 4
            return sees()

        self.spinning.until(look)
        return self.looks - before


def test_a_look_in_vain_ends_after_its_time() -> None:
    """It sleeps then."""
    assert Waits().wait(lambda: None) == 5


def test_what_is_in_vain_is_done_ever_more_seldom() -> None:
    """Each failure doubles the waits that go by without a look, up to a limit."""
    waits = Waits()
    looked = [waits.wait(lambda: None) > 0 for _ in range(3_000)]
    gaps = [len(gap) for gap in "".join("x" if one else "." for one in looked).split("x")[1:-1]]
    assert gaps[:8] == [1, 3, 7, 15, 31, 63, 127, 255]
    assert set(gaps[8:]) == {MOST_SKIPPED}


def test_what_helps_is_done_again() -> None:
    """Each success takes off an eighth, so in the end it looks at each wait."""
    waits = Waits()
    for _ in range(3_000):
        waits.wait(lambda: None)
    for _ in range(3_000):
        waits.wait(lambda: "seen")
    assert [waits.wait(lambda: "seen") for _ in range(3)] == [1, 1, 1]
