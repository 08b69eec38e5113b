"""All that is decided before anything executes: by ``run``, or taken from a record, or derived from one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine import containers, notebooks, store
from engine.digests import bare, digest_of
from engine.errors import BadInput, VerificationFailed
from engine.model import FlagValue, Input, Notebook, Record, Source, Spec
from engine.software import Image


@dataclass(frozen=True)
class Plan:
    """What is to be executed, and what of it the record keeps."""

    spec: Spec
    notebook: Notebook  # the substituted copy
    original: Notebook
    lock: str
    image: Image
    source: Source
    flags: tuple[FlagValue, ...]
    inputs: tuple[Input, ...]
    notes: tuple[str, ...] = ()
    gpus: containers.Given | None = None  # how the spec's request for GPUs is met


def recorded_plan(old: Record, kept: store.RunDirectory) -> Plan:
    """The plan of a recorded run, from its directory, after checking that it still has the recorded hash."""
    try:
        spec = Spec.from_json(old.spec, old.inputs)
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationFailed(f"The spec of run {old.id} is damaged: {error!r}.", "Take it from a backup.") from None
    copy, source = notebooks.read(kept.notebook), store.read_source(kept)
    wanted = (old.hash, spec.notebook, spec.source)
    if (bare(digest_of(spec.to_json())), notebooks.notebook_digest(copy), source.digest) != wanted:
        raise VerificationFailed(
            f"The record of run {old.id} is not what its hash says.",
            "Its run.json, notebook.ipynb or source.json was changed; take the run from a backup or another home.",
        )
    return Plan(
        spec=spec,
        notebook=copy,
        original=replace(copy, name=old.notebook, original=kept.original.read_bytes()),
        lock=kept.lock.read_text(encoding="utf-8"),
        image=Image(spec.image, old.base, old.wheels, ()),  # what the hash covers, and not what is said beside it
        source=source,
        flags=spec.flags,
        inputs=old.inputs,
        notes=old.notes,
    )


def derived_plan(old: Record, kept: store.RunDirectory, assignments: tuple[str, ...]) -> Plan:
    """The plan of a recorded run with other flag values, which are written into the user's own notebook anew.

    VerificationFailed when that notebook does not give what was run: then more than these flags would change.
    """
    plan = recorded_plan(old, kept)
    original = notebooks.read(kept.original)
    if not gives(original, plan.spec):
        raise VerificationFailed(
            f"The notebook that run {old.id} keeps does not give what was run.",
            "It was changed, or another version of nbseal finds other flags in it; give the notebook itself to "
            "`nbseal run`.",
        )
    values = notebooks.bind(notebooks.find_flags(original), assignments, plan.spec.flags)
    notebook = _copy(original, values)
    return replace(
        plan,
        spec=replace(plan.spec, notebook=notebooks.notebook_digest(notebook), flags=values),
        notebook=notebook,
        flags=values,
    )


def gives(original: Notebook, spec: Spec) -> bool:
    """Whether the user's own notebook with the flags of a spec is, once more, the notebook of that spec."""
    try:
        values = notebooks.bind(notebooks.find_flags(original), (), spec.flags)
        return values == spec.flags and notebooks.notebook_digest(_copy(original, values)) == spec.notebook
    except (BadInput, ValueError):  # forged values: they cannot be written, or are no literals
        return False


def _copy(original: Notebook, values: tuple[FlagValue, ...]) -> Notebook:
    return notebooks.neutralise(notebooks.substitute(original, notebooks.find_flags(original), values))
