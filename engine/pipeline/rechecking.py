"""What a run's record says, found again in its own sealed files: values, output files, cells, which run it repeats.

A record means the same to every version that reads it. So these are checks of an import too, and not only of an audit.
What is too much to be read again is never called right: it is said to be unchecked, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from engine import archives, containers, results, store
from engine.archives import layout
from engine.digests import PREFIX, sha256_bytes
from engine.errors import BadInput, VerificationFailed
from engine.files import read_regular
from engine.model import Json, Record, json_number
from engine.pipeline.checks import HINT, Checks
from engine.pipeline.plan import Plan

#: Of a list beside the record; the names of an archive allow no larger one.
_MAX_LIST = 64 << 20


def recheck(
    received: archives.Received, place: store.RunDirectory, record: Record, plan: Plan, checks: Checks
) -> Mapping[str, str]:
    """All of it for a run whose seal and hash hold; by check, why it could not be made."""
    for name in ("inputs", "outputs"):
        checks.run(f"{name}.json", place.id, _check_list, received, place, name)
    untold = {"outputs": checks.run("outputs", place.id, _check_outputs, received, place, record, plan)}
    try:
        _check_size(received, place)
    except VerificationFailed as error:  # anybody may print that much
        untold |= dict.fromkeys(("cells", "scalars", "page"), error.message)
    else:
        executed = checks.run("cells", place.id, _check_cells, received, place, record)
        if executed is not None:
            checks.run("scalars", place.id, _check_scalars, received, place, record, executed)
    return {name: why for name, why in untold.items() if why}


def check_repeats(record: Record, records: Mapping[str, Record]) -> None:
    """That a rerun can be one of the run that it names, which need not be among these ``records`` by id."""
    seen, step = {record.id}, record
    while step.rerun_of in records:
        if step.rerun_of in seen:
            raise VerificationFailed(f"The run.json of run {record.id} says that it repeats itself.", HINT)
        seen.add(step.rerun_of)
        step = records[step.rerun_of]
    repeated = records.get(record.rerun_of)
    if repeated is not None and record.hash != repeated.hash:
        raise VerificationFailed(f"Run {record.id} says that it repeats {repeated.id}, which has another hash.", HINT)


def check_order(record: Record, repeated: Record) -> None:
    """That a rerun began after what it repeats had ended. Clocks of two machines may differ: so no import asks it."""
    if datetime.fromisoformat(record.created) < datetime.fromisoformat(archives.ended(repeated)):
        raise VerificationFailed(
            f"Run {record.id} says that it repeats {repeated.id}, which by their clocks ended after it had begun.",
            "One of the clocks is wrong, or one of the records.",
        )


def _check_list(received: archives.Received, place: store.RunDirectory, name: str) -> None:
    """What stands beside the record in a file of its own, against what stands in it."""
    data = read_regular(place.path / f"{name}.json", _MAX_LIST)
    archives.check_json(received, _path(place, f"{name}.json"), data)
    if json.loads(data) != json.loads(place.record.read_bytes()).get(name):
        raise received.refused(_path(place, f"{name}.json"), "says something else than run.json")


def _check_outputs(received: archives.Received, place: store.RunDirectory, record: Record, plan: Plan) -> str:
    """The list of output files: what project/ holds beyond the source. Why there can be none, or nothing."""
    project = place.project.name
    for path, (kind, reason) in store.read_irregular(place).items():
        if kind == "uncovered" and f"{path}/".startswith(f"{project}/"):
            return f"the seal does not cover all of {project}/: {reason}"
    sealed = store.sealed_digests(place)

    def digest(path: Path) -> tuple[int, str]:
        return path.lstat().st_size, PREFIX + sealed[path.relative_to(place.path).as_posix()]

    targets = [item.target for item in record.inputs]
    try:
        found = results.harvest_files(place.project, plan.source, targets, hashed=digest)
    except BadInput as error:  # as it may have been when the run ended, which then has no list
        return error.message
    said, there = (
        [(item.path, item.change, item.size, item.sha256) for item in items] for items in (record.outputs, found)
    )
    if said != there:
        named = min({item[0] for item in {*said} ^ {*there}}, default="")
        raise received.refused(_path(place, "run.json"), f"lists other outputs than {project}/ holds: {named}")
    return ""


def _check_size(received: archives.Received, place: store.RunDirectory) -> None:
    if place.executed.exists():
        try:
            data = read_regular(place.executed, results.MAX_EXECUTED)
        except OSError:
            raise received.refused(_path(place, place.executed.name), "is too large to be read") from None
        archives.check_json(received, _path(place, place.executed.name), data)


def _check_cells(received: archives.Received, place: store.RunDirectory, record: Record) -> Json:
    """That outputs stand under no cells but those that were to be executed; the executed notebook."""
    documents = [results.read_executed(path) for path in (place.notebook, place.executed)]
    wanted, found = ([(cell["cell_type"], cell["source"]) for cell in document["cells"]] for document in documents)
    if found != wanted and (found or record.status == "completed"):  # without any, it never came to be executed
        raise received.refused(_path(place, place.executed.name), "has other cells than notebook.ipynb")
    return documents[1]


def _check_scalars(received: archives.Received, place: store.RunDirectory, record: Record, executed: Json) -> None:
    """The values: those that the executed notebook printed, and of a run with GPUs those that its events measured."""
    found = results.harvest_scalars(executed)
    if record.spec.get("gpus"):
        found += containers.measured(place.events, store.MAX_EVENTS)
    last = {name: json_number(value) for name, value in results.last_values(found).items()}
    if last != {name: json_number(value) for name, value in record.scalars.items()}:
        raise received.refused(_path(place, "run.json"), "has other scalars than executed.ipynb")
    there = store.sealed_digests(place).get(place.scalars.name, "")
    if PREFIX + there != sha256_bytes(store.scalar_lines(found)):
        raise received.refused(_path(place, place.scalars.name), "does not have the values of executed.ipynb")


def _path(place: store.RunDirectory, name: str) -> str:
    return f"{layout.PAYLOAD}/{layout.run_folder(place.id)}/{name}"
