"""The lines about repetition: which runs of an archive repeat which, and how their records compare."""

from __future__ import annotations

from collections.abc import Mapping

from engine.model import Record
from engine.pipeline.auditing import again
from engine.pipeline.auditing.tally import Tally, claimed, missing, proven
from engine.pipeline.auditing.whole import voucher
from engine.pipeline.checks import Checks, Named
from engine.pipeline.examining import Examined


class Reruns:
    """The reruns of an archive that holds what they repeat, each compared again once."""

    def __init__(self, examined: Examined, checks: Checks) -> None:
        self._examined, self._checks = examined, checks
        self._runs = {run.record.id: run for run in examined.runs if run.record}
        self._records: Mapping[str, Record] = {run.record.id: run.record for run in examined.runs if run.record}
        self._same = {identity: checks.run("rerun", identity, again.check_comparison, examined, record,
                                           self._records[record.rerun_of])
                      for identity, record in self._records.items() if self._comparable(record)}  # fmt: skip

    def tell(self, record: Record, tally: Tally) -> None:
        """The line of one run: it repeats another, or another repeats it."""
        subject, sealed = f"run {record.id}", ("seal", record.id)
        repeating = record if record.rerun_of else self._repeating(record)
        if repeating is None:
            verdict = missing(f"nothing here does; `nbseal rerun {record.id}` would repeat it")
            tally.add("rerun", subject, "what", "another run of its hash", verdict, after=[sealed])
            return
        told = repeating.comparison.verdict if repeating.comparison else ""
        other = repeating.rerun_of if repeating is record else repeating.id
        statement = f"its record and that of run {other[:16]} compare as {told or 'nobody says what'}"
        whom = self._whom(record.id)
        if other not in self._records:
            verdict = claimed(f"{whom}: that run is not in the archive")
        elif not told:
            verdict = claimed(f"{whom}: they were not compared")
        elif self._same.get(repeating.id):
            whose = " and ".join(dict.fromkeys((whom, self._whom(other))))
            verdict = proven(f"comparing both again; that both were executed is claimed by {whose}")
        else:
            verdict = claimed(f"{whom}: this version compares otherwise")
        own: list[Named] = []
        after: list[Named] = [sealed]
        if repeating is record:
            own.append(("repeats", record.id))
            if told and other in self._records:
                own.append(("rerun", record.id))
                after.append(("seal", other))
        tally.add("rerun", subject, "what", statement, verdict, own=own, after=after)

    def _comparable(self, record: Record) -> bool:
        needed = {("repeats", record.id), ("seal", record.id), ("seal", record.rerun_of)}
        whole = not any(
            "cells" in self._runs[item].untold for item in (record.id, record.rerun_of) if item in self._runs
        )
        return record.comparison is not None and record.rerun_of in self._records and whole and (
            needed <= self._checks.passed
        )  # fmt: skip

    def _repeating(self, record: Record) -> Record | None:
        """The first run that repeats this one, and was found to compare with it as it says."""
        found = (item for _, item in sorted(self._records.items()) if item.rerun_of == record.id)
        return next((item for item in found if self._same.get(item.id)), None)

    def _whom(self, identity: str) -> str:
        return voucher(self._examined, self._runs[identity], self._checks)
