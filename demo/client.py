"""What a user of the registry writes: chat completions with the `openai` package."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Self

import httpx2
import openai
from openai.types.chat import ChatCompletionChunk

from demo.errors import DemoError
from demo.server import Gateway

REQUEST_TIMEOUT_S = 60.0
MAX_TOKENS = 48
AT_ONCE = 2
QUESTIONS = (
    "What is the capital of France? Answer in one short sentence.",
    "What is a queue?",
    "Explain gravity in one sentence.",
    "What does a librarian do?",
    "Name three fruits.",
    "What is photosynthesis?",
    "What is the opposite of hot?",
    "Describe a lighthouse.",
)


@dataclass(frozen=True)
class Served:
    """Who answered a request.

    Args:
        backend: The id of the backend.
        gateway: The gateway process.
    """

    backend: str
    gateway: Gateway

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """Read it from the headers of an answer.

        Raises:
            DemoError: A header is missing.
        """
        backend = headers.get("X-Registry-Backend")
        if not backend:
            raise DemoError("An answer does not name the backend it came from.")
        return cls(backend, Gateway.of(headers))


@dataclass(frozen=True)
class Answer:
    """A finished chat completion.

    Args:
        number: Which request it answers, from 1.
        streamed: Whether it came token by token.
        text: What the model said.
        served: Who answered.
        elapsed_ms: From the call to the first token if streamed, else to the end, in milliseconds.
    """

    number: int
    streamed: bool
    text: str
    served: Served
    elapsed_ms: float


def connect(url: str) -> openai.OpenAI:
    """An OpenAI client for the registry, with connections of its own.

    It never sends a request twice by itself, so what is seen is the registry's doing, and uses no proxy.
    """
    return openai.OpenAI(
        base_url=f"{url}/v1",
        api_key="not needed",
        max_retries=0,
        timeout=REQUEST_TIMEOUT_S,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    )


def models(client: openai.OpenAI) -> list[str]:
    """The names of the models the registry offers.

    Raises:
        DemoError: The list cannot be had.
    """
    with told_as_sentence("The models could not be listed"):
        return [model.id for model in client.models.list()]


def ask(client: openai.OpenAI, model: str, number: int, question: str, *, stream: bool) -> Answer:
    """Send one chat completion and read its answer to the end.

    Args:
        client: Whom to send it with.
        model: The model to ask.
        number: The request's number, for the answer and for errors.
        question: What to ask.
        stream: Whether to have the answer token by token.

    Raises:
        DemoError: There was no answer, or an empty or unfinished one.
    """
    with told_as_sentence(f"Request {number} was not answered"):
        if stream:
            return _ask_streamed(client, model, number, question)
        return _ask_whole(client, model, number, question)


def _ask_whole(client: openai.OpenAI, model: str, number: int, question: str) -> Answer:
    start = time.perf_counter()
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": question}], max_tokens=MAX_TOKENS, temperature=0
    )
    choices = raw.parse().choices
    elapsed_ms = (time.perf_counter() - start) * 1000
    text = (choices[0].message.content or "") if choices else ""
    if not text.strip():
        raise DemoError(f"Request {number} got an empty answer.")
    return Answer(number, False, text, Served.of(raw.headers), elapsed_ms)


def _ask_streamed(client: openai.OpenAI, model: str, number: int, question: str) -> Answer:
    start = time.perf_counter()
    with Stream(client, model, question, max_tokens=MAX_TOKENS) as stream:
        text = stream.next_text()
        elapsed_ms = (time.perf_counter() - start) * 1000
        while more := stream.next_text():
            text += more
        if not text.strip():
            raise DemoError(f"Request {number} got an empty answer.")
        if not stream.finished:
            raise DemoError(f"The stream that answers request {number} ended before its end.")
        return Answer(number, True, text, stream.served, elapsed_ms)


class Stream:
    """A chat completion that arrives token by token.

    Args:
        client: Whom to send it with.
        model: The model to ask.
        question: What to ask.
        max_tokens: The longest answer, in tokens.
    """

    def __init__(self, client: openai.OpenAI, model: str, question: str, *, max_tokens: int) -> None:
        raw = client.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            max_tokens=max_tokens,
            temperature=0,
            stream=True,
        )
        self.served = Served.of(raw.headers)
        self.finished = False
        self._chunks = raw.parse()
        self._iterator: Iterator[ChatCompletionChunk] = iter(self._chunks)

    def next_text(self) -> str:
        """Wait for the next piece of text; empty at the end of the stream."""
        for chunk in self._iterator:
            for choice in chunk.choices:
                self.finished = self.finished or choice.finish_reason is not None
                if choice.delta.content:
                    return choice.delta.content
        return ""

    def close(self) -> None:
        """Leave the stream, wherever it is."""
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask_all(url: str, model: str) -> Iterator[Answer]:
    """Ask all questions, two at a time, every second one streamed; yields the answers as they come in.

    Args:
        url: The address of the registry.
        model: The model to ask.

    Raises:
        DemoError: A request was not answered.
    """
    with closing(connect(url)) as client:
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            waiting: list[Future[Answer]] = [
                pool.submit(ask, client, model, number, question, stream=number % 2 == 0)
                for number, question in enumerate(QUESTIONS, start=1)
            ]
            for future in waiting:
                yield future.result()
        finally:
            # Without waiting: if the demo is stopped here, the servers end next, and so do the open requests.
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def told_as_sentence(beginning: str) -> Iterator[None]:
    """Turn the errors of the `openai` package and of the connection below it into a `DemoError`."""
    try:
        yield
    except (openai.OpenAIError, httpx2.HTTPError) as error:
        raise DemoError(f"{beginning}: {str(error) or type(error).__name__}") from error
