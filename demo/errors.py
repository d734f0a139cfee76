"""How the demo can end early.

DemoError
Stopped (a BaseException)
"""


class DemoError(Exception):
    """A step of the demo failed; the message is one sentence for the person who watches."""


class Stopped(BaseException):
    """A signal asked the demo to end.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
