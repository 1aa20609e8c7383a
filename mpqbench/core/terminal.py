"""Text on its way to a terminal, a log file or a pipe: no text may end a run, and none may draw."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Control characters but newline and tab, and characters that reorder the text around them.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_ASCII = {
    "±": "+-", "\u00d7": "x", "÷": "/", "≈": "~", "≤": "<=", "Δ": "d", "τ": "tau", "→": "->",
    "\u2013": "-", "—": "-", "·": "*", "…": "...", "é": "e",
}  # fmt: skip


def printable(text: object) -> str:
    r"""Return ``text`` with control characters written out, such as ``\x1b``; lines stay lines."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(text))


def one_line(text: object) -> str:
    """Return ``text`` as one printable line."""
    return printable(" ".join(filter(None, map(str.strip, str(text).split("\n")))))


def encodable(text: str, encoding: str) -> str:
    r"""Return ``text`` in characters of ``encoding``: others become ASCII, or ``\u...``."""
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError as error:
        wrong = text[error.start]
        text = text.replace(wrong, _ASCII.get(wrong, ascii(wrong)[1:-1]))
        return encodable(text, encoding)


class Output:
    """A stream of text that takes every character, and any text where nobody reads any more.

    ``failure`` says why text was lost, where that was not the reader's own will.
    """

    errors = "strict"

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # None where the stream was closed before the start
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.failure = ""

    def write(self, text: str) -> int:
        """Write ``text``. Raises TypeError for bytes."""
        if not isinstance(text, str):
            raise TypeError("this is a stream of text")
        with self._stream_lost():
            if self._stream is not None:
                self._stream.write(encodable(text, self.encoding))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._stream_lost():
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the number of the file. Raises OSError where there is none."""
        if self._stream is None:
            raise OSError(errno.EBADF, "the stream is closed")
        return self._stream.fileno()

    @contextmanager
    def _stream_lost(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno != errno.EPIPE:
                self.failure = error.strerror or str(error)
            lost, self._stream = self._stream, None
            with open(os.devnull, "w", encoding="utf-8") as nowhere:  # for the flush at the end
                os.dup2(nowhere.fileno(), lost.fileno())  # type: ignore[union-attr]


@contextmanager
def safe_streams() -> Iterator[Output]:
    """Let standard output and error be ``Output``; provide standard output."""
    before = sys.stdout, sys.stderr
    stdout, stderr = map(Output, before)
    sys.stdout, sys.stderr = stdout, stderr
    try:
        yield stdout
    finally:
        for stream in (stdout, stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def echo(text: object = "", err: bool = False) -> None:
    """Print ``printable`` text, on standard error with ``err``."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        print(encodable(printable(text), encoding), file=stream, flush=True)


def console(width: int | None = None) -> "Console":
    """Return a console of rich that shows texts as they stand: no markup, no control characters.

    ``width`` is the least one, as a log file or a pipe has none.
    """
    from rich.console import Console
    from rich.segment import Segment

    class Plain(Console):
        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for part in super().render(renderable, options):
                text = part.text if part.control else encodable(printable(part.text), self.encoding)
                yield Segment(text, part.style, part.control)

    made = Plain(markup=False, emoji=False, highlight=False)
    if width is not None:
        made.width = max(made.width, width)
    return made
