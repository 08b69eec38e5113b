"""The nouns of an audit: a line of the checklist, and how a line can stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Standing = Literal["proven", "claimed", "missing", "wrong", "unchecked"]
#: In the order in which they are counted, and as people read them.
STANDINGS: dict[Standing, str] = {
    "proven": "proven",
    "claimed": "claimed",
    "missing": "missing",
    "wrong": "wrong",
    "unchecked": "not checked",
}
Question = Literal["who", "what", "when", "from which bytes"]


@dataclass(frozen=True)
class Line:
    """One line of an audit. ``by`` is what proves it, who claims it, or why it is missing, wrong or not checked."""

    name: str  # which several runs of an archive have once each
    subject: str  # "run <id>", "image <id>"; empty for the whole archive
    question: Question
    statement: str
    state: Standing
    by: str
    signer: str = ""  # of a signature: the name under which it counts here
    key: str = ""  # of a signature: the fingerprint of its key; of a time stamp, of its certificate

    @property
    def because(self) -> str:
        """``by`` as people read it."""
        return f"by {self.by}" if self.state in ("proven", "claimed") else self.by
