"""The lines of an audit: each with the checks that it stands on, whose refusals decide before anything else is said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.checklist import Line, Question, Standing
from engine.pipeline.checks import Checks, Named, printable

#: As many refusals as one line tells.
_MOST = 5
_LONGEST = 2000


@dataclass(frozen=True)
class Verdict:
    """What a line comes to when none of its checks refused."""

    state: Standing
    by: str
    signer: str = ""  # of a signature that holds
    key: str = ""


def proven(by: str, signer: str = "", key: str = "") -> Verdict:
    return Verdict("proven", by, signer, key)


def claimed(by: str, key: str = "") -> Verdict:
    return Verdict("claimed", by, key=key)


def missing(why: str) -> Verdict:
    return Verdict("missing", why)


def unchecked(why: str) -> Verdict:
    return Verdict("unchecked", why)


class Tally:
    """Collects lines. Every refusal has to become part of one."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self._told: set[Named] = set()
        self.lines: list[Line] = []

    def add(
        self,
        name: str,
        subject: str,
        question: Question,
        statement: str,
        verdict: Verdict,
        *,
        own: Iterable[Named] = (),
        after: Iterable[Named] = (),
        gone: str = "",
    ) -> None:
        """A line. One of its ``own`` checks that refused makes it wrong; one that it comes ``after``, not checked.

        What is ``gone``, and why, is missing whatever its own checks say of what is not there.
        """
        own, refused = tuple(own), self._checks.refused
        self._told |= set(own)
        wrong = dict.fromkeys(refused[check].message for check in own if check in refused)
        needed = (*after, *own)
        if gone:
            verdict = missing(gone)
        elif wrong:
            verdict = Verdict("wrong", " ".join(list(wrong)[:_MOST]))
        elif lacking := [check for check in needed if check not in self._checks.passed]:
            verdict = Verdict("unchecked", f"it needs {_named(lacking[0])}, which did not hold or was not checked")
        by, statement = (printable(text[:_LONGEST]) for text in (verdict.by, statement))  # they cite the archive
        whose = printable(verdict.signer), printable(verdict.key)
        self.lines.append(Line(name, subject, question, statement, verdict.state, by, *whose))

    def rest(self) -> None:
        """Whatever refused and is in no line yet."""
        for check in sorted(self._checks.refused.keys() - self._told):
            self.add("contents", "", "what", f"{_named(check)} holds", missing(""), own=[check])


def _named(check: Named) -> str:
    name, subject = check
    return f"the check '{name}' of {subject[:80]}" if subject else f"the check '{name}'"
