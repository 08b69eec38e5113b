"""The story, straight-line and typed: a notebook becomes a record, a record becomes the same run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine import containers, daemon, environments, notebooks, store
from engine.digests import bare, digest_of
from engine.errors import BadInput, Detached, EngineUnavailable, VerificationFailed
from engine.model import FlagValue, Image, Input, Json, Limits, Notebook, Record, Source, Spec
from engine.pipeline import environment
from engine.pipeline.harvest import finish
from engine.pipeline.reading import find
from engine.progress import Progress
from engine.settings import Home

OnEvent = Callable[[Json], None]


@dataclass(frozen=True)
class Request:
    """What a user asks ``run`` for. ``inputs`` are PATH[=TARGET], ``assignments`` FLAG=VALUE."""

    notebook: Path
    assignments: tuple[str, ...]
    inputs: tuple[str, ...]
    wanted: environment.Wanted
    limits: Limits
    deterministic: bool = False


@dataclass(frozen=True)
class Plan:
    """All that is decided before anything executes; a rerun takes it from the record instead."""

    spec: Spec
    notebook: Notebook  # the substituted copy
    original: Notebook
    lock: str
    image: Image
    source: Source
    flags: tuple[FlagValue, ...]
    inputs: tuple[Input, ...]
    notes: tuple[str, ...] = ()


def run(request: Request, home: Home, progress: Progress, on_event: OnEvent) -> Record:
    """Run a notebook and record it. The record says how it ended; only what prevents a record raises."""
    original = notebooks.read(request.notebook)
    flags = notebooks.find_flags(original)
    values = notebooks.bind(flags, request.assignments)
    copy = notebooks.neutralise(notebooks.substitute(original, flags, values))
    root = store.find_project_root(request.notebook, home)
    declared = environment.requirements(original, request.notebook, root, request.wanted)
    engine = daemon.connect()
    inputs = store.keep_inputs(request.inputs, request.notebook, root, home, progress)
    source = store.snapshot(root, request.notebook, home, progress, inputs)
    base, lock = environment.resolve(request.notebook, declared, request.wanted, home, engine, progress)
    image = environment.assemble(base, lock, home, engine, progress)
    spec = Spec(
        notebook=notebooks.notebook_digest(copy),
        flags=values,
        source=source.digest,
        inputs=inputs,
        image=image.id,
        environment=containers.environment(containers.MEASURES if request.deterministic else ()),
        directory=store.folder_in(root, request.notebook),
    )
    notes = (
        *original.warnings,
        *(origin for origin in declared.origins if " was passed over: " in origin),
        *(f"not in the source snapshot: {path} looks like a secret" for path in source.secrets),
        *(f"not in the source snapshot: {what}" for what in source.left_out),
    )
    for note in notes:
        progress.say(f"  {note}")
    plan = Plan(spec, copy, original, lock.text, image, source, values, inputs, notes)
    return execute(plan, request.limits, home, engine, progress, on_event)


def rerun(prefix: str, limits: Limits, home: Home, progress: Progress, on_event: OnEvent) -> Record:
    """Repeat a run from its record alone and compare. Limits that are not given are those of the run."""
    old = find(prefix, home, progress)
    if old.status == "running":
        raise BadInput(f"Run {old.id} is still running.", "Wait until it has ended; `nbseal runs` shows when.")
    engine = daemon.connect()
    plan = restore(old, home, engine, progress)
    limits = replace(
        old.limits,
        timeout=limits.timeout or old.limits.timeout,
        cell_timeout=limits.cell_timeout or old.limits.cell_timeout,
        memory=limits.memory or old.limits.memory,
    )
    return execute(plan, limits, home, engine, progress, on_event, rerun_of=old.id)


def restore(old: Record, home: Home, engine: daemon.Engine, progress: Progress) -> Plan:
    """The plan of a recorded run, its image held by the engine."""
    kept = store.open_run(home, old.id)
    store.verify_run(kept, old)
    plan = _recorded_plan(old, kept)
    image = environments.remembered_image(home, old.image) or plan.image
    environments.load_image(image, home, engine, progress)
    return replace(plan, image=image)


def _display(on_event: OnEvent) -> OnEvent:
    """Showing a run must not be able to end it: stderr may be closed, and a notebook can write events."""
    shown = True

    def pass_on(event: Json) -> None:
        nonlocal shown
        if shown:
            try:
                on_event(event)
            except (OSError, ValueError, TypeError, OverflowError):
                shown = False

    return pass_on


def _recorded_plan(old: Record, kept: store.RunDirectory) -> Plan:
    """The plan of a recorded run, from its directory, after checking that it still has the recorded hash."""
    try:
        spec = Spec.from_json(old.spec, old.inputs)
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationFailed(f"The spec of run {old.id} is damaged: {error!r}.", "Take it from a backup.") from None
    copy = notebooks.read(kept.notebook)
    if notebooks.notebook_digest(copy) != spec.notebook or bare(digest_of(spec.to_json())) != old.hash:
        raise VerificationFailed(
            f"The record of run {old.id} is not what its hash says.",
            "Its run.json or notebook.ipynb was changed; take the run from a backup or another home.",
        )
    return Plan(
        spec=spec,
        notebook=copy,
        original=replace(copy, name=old.notebook, original=kept.original.read_bytes()),
        lock=kept.lock.read_text(encoding="utf-8"),
        image=Image(old.image, old.base, old.wheels, ()),
        source=store.read_source(kept),
        flags=old.flags,
        inputs=old.inputs,
        notes=old.notes,
    )


def execute(
    plan: Plan,
    limits: Limits,
    home: Home,
    engine: daemon.Engine,
    progress: Progress,
    on_event: OnEvent,
    *,
    rerun_of: str = "",
    parent: str = "",
    experiment: str = "",
) -> Record:
    """Execute a plan and record it; see ``Record`` for the last three."""
    record = Record(
        id=store.new_id(),
        hash=bare(digest_of(plan.spec.to_json())),
        status="running",
        notebook=plan.original.name,
        image=plan.image.id,
        base=plan.image.base,
        spec=plan.spec.to_json(),
        created=store.now(),
        limits=limits,
        flags=plan.flags,
        source=plan.source.digest,
        wheels=plan.image.wheels,
        inputs=plan.inputs,
        rerun_of=rerun_of,
        parent=parent,
        experiment=experiment,
        notes=plan.notes,
    )
    mounts = [(store.materialise(item, home), item.target) for item in plan.inputs]
    document = notebooks.to_document(plan.notebook)
    with store.begin_run(home, record, plan.original.original, document, plan.lock, plan.source) as run:
        try:
            outcome = containers.execute(
                engine,
                record.image,
                project=run.project,
                spool=run.spool,
                directory=plan.spec.directory,
                inputs=mounts,
                environment=plan.spec.environment,
                network=plan.spec.network,
                limits=limits,
                run_id=record.id,
                on_event=_display(on_event),
            )
        except Detached:
            raise  # the run may be under way: it stays as it is, to be settled later
        except (EngineUnavailable, BadInput, KeyboardInterrupt):
            store.discard(run)  # nothing was executed, so nothing is recorded
            raise
        return finish(run, record, outcome, plan.source)
