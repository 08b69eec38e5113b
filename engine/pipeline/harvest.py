"""What an execution left becomes the record of a run."""

from __future__ import annotations

from dataclasses import replace

from engine import results, store
from engine.errors import BadInput, NbsealError
from engine.model import Comparison, Json, Outcome, Record, Source
from engine.settings import Home


def finish(run: store.RunDirectory, record: Record, outcome: Outcome, source: Source) -> Record:
    """Harvest what the execution left, compare a rerun with its original, publish the record."""
    targets = [item.target for item in record.inputs]
    try:
        document = results.read_executed(run.spool / "executed.ipynb")
        outputs = results.harvest_files(run.project, source, targets)
    except BadInput as error:
        # The notebook may write anything there. Whatever it is, the run is recorded, and says so.
        document, outputs = results.read_executed(run.notebook), ()
        outcome = replace(outcome, status="failed", reason=error.message)
    scalars = results.harvest_scalars(document)
    finished = replace(
        record,
        status=outcome.status,
        outcome=outcome,
        scalars=results.last_values(scalars),
        outputs=outputs,
    )
    if record.rerun_of:
        finished = replace(finished, comparison=_compare(run.home, finished, document))
    return store.publish(run, finished, document, scalars, results.harvest_pictures(document))


def _compare(home: Home, record: Record, document: Json) -> Comparison | None:
    try:
        old = store.load_record(home, record.rerun_of)
        kept = store.open_run(home, old.id)
    except NbsealError:
        return None  # the run that it repeats has been removed meanwhile
    return results.compare(old, results.read_executed(kept.executed), record, document)
