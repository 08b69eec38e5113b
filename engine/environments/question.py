"""What a resolver is asked; uv and pip-tools answer the same question."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """``requirements`` (PEP 508) under ``constraints`` (exact pins), preferring the pins of ``preferences``.

    ``before`` is an instant (RFC 3339, UTC): files uploaded at it or later do not exist for the answer.
    """

    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()
    before: str = ""

    def files(self) -> dict[str, str]:
        """The files that a resolver reads; the output file with pins in it is how both take preferences."""
        return {
            "requirements.in": "".join(f"{line}\n" for line in self.requirements),
            "constraints.txt": "".join(f"{line}\n" for line in self.constraints),
            "requirements.txt": "".join(f"{line}\n" for line in self.preferences),
        }
