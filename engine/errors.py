"""The one root exception: a sentence that says what, a hint that says what to do, an exit code."""

from __future__ import annotations


class NbsealError(Exception):
    """Anything that a user can cause or must know. ``exit_code`` follows docs/reference/exit-codes.md."""

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(NbsealError):
    """The command line, a file or a flag value is not usable (exit 2)."""

    exit_code = 2


class EngineUnavailable(NbsealError):
    """No usable container engine answers, or it refused what we need (exit 3)."""

    exit_code = 3


class Detached(EngineUnavailable):
    """The engine or the user went away while a run may be under way: nothing is decided, nothing is cleaned up."""


class VerificationFailed(NbsealError):
    """Bytes are not what their record says (exit 4)."""

    exit_code = 4


class EnvironmentFailed(NbsealError):
    """Requirements cannot be resolved, fetched or built into an image (exit 5)."""

    exit_code = 5
