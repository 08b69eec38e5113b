"""The story, straight-line and typed: a notebook becomes a record, a record becomes the same run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine import archives, containers, daemon, environments, notebooks, store
from engine.digests import bare, digest_of
from engine.errors import BadInput, Detached, EngineUnavailable
from engine.model import Json, Limits, Record, Spec
from engine.pipeline import environment
from engine.pipeline.harvest import finish
from engine.pipeline.plan import Plan, derived_plan, recorded_plan
from engine.pipeline.reading import recorded
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
    source = store.snapshot(root, request.notebook, home, progress, inputs, archives.is_archive)
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
    old, kept = recorded(prefix, home, progress)
    engine = daemon.connect()
    plan = _restored(recorded_plan(old, kept), home, engine, progress)
    return execute(plan, _limits(old, limits), home, engine, progress, on_event, rerun_of=old.id)


def rerun_with(
    prefix: str, assignments: tuple[str, ...], limits: Limits, home: Home, progress: Progress, on_event: OnEvent
) -> Record:
    """Run a recorded run's spec with other flag values: a new spec, whose record names that run as its parent."""
    old, kept = recorded(prefix, home, progress)
    plan = derived_plan(old, kept, assignments)
    engine = daemon.connect()
    plan = _restored(plan, home, engine, progress)
    return execute(plan, _limits(old, limits), home, engine, progress, on_event, parent=old.id)


def restore(old: Record, home: Home, engine: daemon.Engine, progress: Progress) -> Plan:
    """The plan of a recorded run, its image held by the engine."""
    kept = store.open_run(home, old.id)
    store.verify_run(kept, old)
    return _restored(recorded_plan(old, kept), home, engine, progress)


def _restored(plan: Plan, home: Home, engine: daemon.Engine, progress: Progress) -> Plan:
    image = environments.remembered_image(home, plan.image.id) or plan.image
    environments.load_image(image, home, engine, progress)
    return replace(plan, image=image)


def _limits(old: Record, limits: Limits) -> Limits:
    return replace(
        old.limits,
        timeout=limits.timeout or old.limits.timeout,
        cell_timeout=limits.cell_timeout or old.limits.cell_timeout,
        memory=limits.memory or old.limits.memory,
    )


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
