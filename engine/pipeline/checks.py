"""Checks by name: the first that refuses ends them, or each refusal is kept and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from engine.errors import BadInput, EnvironmentFailed, NbsealError, VerificationFailed

_P = ParamSpec("_P")
_T = TypeVar("_T")
#: A check's name, and what it was about: a run, an image, a base or a folder; nothing for the whole archive.
Named = tuple[str, str]


class Checks:
    """What was checked of an archive called ``source``, and how that ended."""

    def __init__(self, source: str, *, collect: bool = False) -> None:
        self._source, self._collect = source, collect
        self.passed: set[Named] = set()
        self.refused: dict[Named, NbsealError] = {}

    def run(
        self, name: str, subject: str, check: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs
    ) -> _T | None:
        """What a check gives; None when it refuses and refusals are kept. Else VerificationFailed says what is wrong.

        Whatever a document does to who reads it is a refusal; that the disk has no room is none, and always raised.
        """
        try:
            found = check(*arguments, **options)
        except EnvironmentFailed:
            raise
        except NbsealError as error:
            refusal = _refusal(error, self._source)
        except FileNotFoundError as error:
            name = printable("/".join(str(error.filename).split("/")[-2:]))[:200]
            refusal = VerificationFailed(f"{self._source} has no {name}, which is needed.", HINT)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            reason = printable(f"{type(error).__name__} {error}")[:200]
            refusal = VerificationFailed(f"{self._source} holds a damaged document: {reason}.", HINT)
        else:
            self.passed.add((name, subject))
            return found
        if not self._collect:
            raise refusal from None
        self.refused[name, subject] = refusal
        return None


HINT = "Nothing of it entered the home. Take the file from where it was made."


def _refusal(error: NbsealError, source: str) -> VerificationFailed:
    if isinstance(error, BadInput):  # a document that another stage could not read: here, a forged one
        return VerificationFailed(f"{source}: {printable(error.message)}", HINT)
    return VerificationFailed(printable(error.message), error.hint)  # it may cite the document that it is about


def printable(text: str) -> str:
    """A text that cites an archive, without what a terminal would obey or could not show."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
