"""How a call to a service registry over HTTP fails.

```text
ServicesError
├── RegistryUnreachable      nobody answers there, or not in time, or the connection broke
├── RegistryRefused          it answered with an error; has the HTTP status
└── AnswerInvalid            it answered with something else than a service registry does

registry.errors.ServiceNotFound    there is no service of this name
registry.errors.InvalidField       an argument is out of its limits; nothing was sent
```

No text of them holds the key.
"""

from __future__ import annotations


class ServicesError(Exception):
    """Base of what becomes of calls to a service registry."""


class RegistryUnreachable(ServicesError):
    """No answer came. What was asked for may have been done all the same, unless nobody was there to be asked.

    Args:
        url: Where the registry should be.
        reason: Why there is no answer.
        maybe_done: Whether the registry may have done what was asked for.
    """

    def __init__(self, url: str, reason: str, *, maybe_done: bool = True) -> None:
        super().__init__(f"the registry at {url} cannot be reached: {reason}")
        self.url = url
        self.reason = reason
        self.maybe_done = maybe_done


class RegistryRefused(ServicesError):
    """The registry said no.

    Args:
        status: The HTTP status.
        reason: What it said.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the registry refused ({status}): {reason}")
        self.status = status
        self.reason = reason

    @property
    def is_for_now(self) -> bool:
        """Whether the same request may be answered later."""
        return self.status >= 500 or self.status == 429


class AnswerInvalid(ServicesError):
    """What came is no answer of a service registry: not its JSON, or more than any answer of one has.

    Args:
        reason: What is wrong with it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the answer is not that of a service registry: {reason}")
        self.reason = reason
