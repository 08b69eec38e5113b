"""What an execution left becomes the record of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine import containers, results, store
from engine.errors import BadInput, NbsealError
from engine.model import Comparison, Difference, Json, Outcome, OutputFile, Record, Source
from engine.settings import Home


def finish(run: store.RunDirectory, record: Record, outcome: Outcome, source: Source) -> Record:
    """Harvest what the execution left, compare a rerun with its original, publish the record."""
    unusable = []  # the notebook may write anything anywhere; whatever it is, the run is recorded and says so
    try:
        document = results.read_executed(run.spool / "executed.ipynb")
    except BadInput as error:
        document = results.read_executed(run.notebook)
        unusable.append(error.message)
    outputs: tuple[OutputFile, ...] = ()
    try:
        outputs = results.harvest_files(run.project, source, [item.target for item in record.inputs])
    except BadInput as error:
        unusable.append(error.message)
    if unusable:
        outcome = replace(outcome, status="failed", reason=" ".join([outcome.reason, *unusable]).strip())
    scalars = results.harvest_scalars(document)
    if record.spec.get("gpus"):
        scalars += containers.measured(run.spool / "events.jsonl", store.MAX_EVENTS)
    finished = replace(
        record,
        status=outcome.status,
        outcome=outcome,
        scalars=results.last_values(scalars),
        outputs=outputs,
    )
    if record.rerun_of and outcome.status not in ("interrupted", "lost"):
        comparison = _compare(run.home, finished, document, run.project)
        if comparison and unusable:  # what cannot be read is not identical to anything
            missing = tuple(Difference("results", reason) for reason in unusable)
            comparison = replace(comparison, verdict="different", differences=(*missing, *comparison.differences))
        finished = replace(finished, comparison=comparison)
    store.publish(run, finished, document, scalars, results.harvest_pictures(document))
    return finished


def _compare(home: Home, record: Record, document: Json, project: Path) -> Comparison | None:
    try:
        old = store.load_record(home, record.rerun_of)
        kept = store.open_run(home, old.id)
        before = evidence(old, results.read_executed(kept.executed), kept.project)
    except NbsealError:
        return None  # the run that it repeats has been removed or damaged meanwhile
    return results.compare(before, evidence(record, document, project))


def evidence(record: Record, document: Json, project: Path) -> results.Evidence:
    """What a comparison looks at of one run."""

    def read(item: OutputFile) -> bytes | None:
        return results.read_output(project, item, results.MAX_FILE)

    return results.Evidence(record.status, document, record.outputs, read)
