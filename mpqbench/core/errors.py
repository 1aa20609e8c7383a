"""Errors, each with a message of one sentence for the user."""

import difflib
import reprlib
from collections.abc import Iterable


class BenchError(ValueError):
    """A mistake in the input: what is wrong, where, and what would be right. Exit code 2.

    Validators of settings may raise it: ``validate`` adds the place.
    """


class NotWritable(BenchError):
    """A file cannot be written. Ends a run, since no other job could keep its results either."""


class BenchWarning(UserWarning):
    """Something that was left out of a result; the message names the file and the remedy."""


class Infeasible(BenchError):
    """No allocation meets the budget; the message names the cheapest achievable cost."""


class Diverged(BenchError):
    """Numbers stopped being finite; the message names where."""


class Exhausted(BenchError):
    """A search has used up its evaluations; the problem keeps what was scored before."""


MOST_TOLD = 40  # valid names in one message

# Whatever the code of a third party may raise: sys.exit too, but not an interrupt by the user.
ANY_ERROR = (Exception, SystemExit)


def reason_of(error: BaseException) -> str:
    """Return what a third party's code raised, in words; a BenchError is a sentence by itself."""
    if isinstance(error, BenchError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"a plugin called sys.exit({'' if error.code is None else repr(error.code)})"
    if type(error).__name__ in ("OutOfMemoryError", "MemoryError"):  # torch's, without torch
        told = ". ".join(str(error).split(". ")[:2])  # of an account of the whole memory
        return f"there is too little memory{f' ({told})' if told else ''}"
    return f"{type(error).__name__}: {error}"


def shown(value: object, most: int = 80) -> str:
    """Return ``value`` as a message shows it: quoted, on one line, and cut to ``most`` characters.

    Large lists and mappings are cut before they are turned into text.
    """
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 3, most, most, most
    text = short.repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def unknown(what: str, name: object, valid: Iterable[str]) -> BenchError:
    """Make the error for an unknown name, with the nearest valid name and all of them.

    Of more than 40 names the first 40 are told, and how many there are.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(name)[:100], names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    more = f", ... ({len(names)} in all)" if len(names) > MOST_TOLD else ""
    valid_ones = f"valid: {', '.join(names[:MOST_TOLD])}{more}" if names else "there are none"
    return BenchError(f"unknown {what} {shown(name)}{hint} ({valid_ones})")
