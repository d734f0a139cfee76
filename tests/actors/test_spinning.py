from collections.abc import Callable

from actors.spinning import GOOD_AGAIN, MOST_SKIPPED, SPIN_S, Spinning


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
    assert gaps[:8] == [1, 3, 7, 15, 31, 63, 127, 127]
    assert set(gaps[8:]) == {MOST_SKIPPED}


def tired() -> Waits:
    """Waits that have looked in vain for long."""
    waits = Waits()
    for _ in range(3_000):
        waits.wait(lambda: None)
    return waits


def test_what_helps_is_soon_done_at_each_wait_again() -> None:
    """One gap goes by; then each look that helps is followed by the next, and after some all is as at the beginning."""
    waits = tired()
    looked = [waits.wait(lambda: "seen") for _ in range(MOST_SKIPPED + GOOD_AGAIN)]
    assert looked.count(1) >= GOOD_AGAIN
    assert waits.spinning.skips == 0
    assert [waits.wait(lambda: "seen") for _ in range(3)] == [1, 1, 1]


def test_what_helps_now_and_then_stays_seldom() -> None:
    """A row of looks that helped ends with the first in vain, and the next gap is not shorter."""
    waits = tired()
    waits.wait(lambda: "seen")
    while not waits.wait(lambda: "seen"):
        pass
    waits.wait(lambda: None)
    assert waits.spinning.skips == MOST_SKIPPED
    assert [waits.wait(lambda: None) for _ in range(MOST_SKIPPED)] == [0] * MOST_SKIPPED
