"""The story, straight-line and typed: a notebook becomes a sealed record, a record becomes the same run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from engine import containers, daemon, environments, notebooks, results, store
from engine.digests import bare, digest_of
from engine.errors import BadInput, EngineUnavailable, NbsealError, VerificationFailed
from engine.files import write_atomic
from engine.model import (
    Base,
    Comparison,
    Flag,
    FlagValue,
    Image,
    Input,
    Json,
    Limits,
    Lock,
    Notebook,
    Outcome,
    Record,
    Requirements,
    Source,
    Spec,
)
from engine.progress import Progress
from engine.settings import Home

OnEvent = Callable[[Json], None]


@dataclass(frozen=True)
class Wanted:
    """What a user says of the environment on the command line."""

    requirements: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    resolver: Literal["uv", "pip-tools"] = "uv"
    upgrade: bool = False
    locked: bool = False
    as_of: str | None = None


@dataclass(frozen=True)
class Request:
    """What a user asks ``run`` for. ``inputs`` are PATH[=TARGET], ``assignments`` FLAG=VALUE."""

    notebook: Path
    assignments: tuple[str, ...]
    inputs: tuple[str, ...]
    wanted: Wanted
    limits: Limits


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


# --- run --------------------------------------------------------------------------------------


def run(request: Request, home: Home, progress: Progress, on_event: OnEvent) -> Record:
    """Run a notebook and record it. The record says how it ended; only what prevents a record raises."""
    original = notebooks.read(request.notebook)
    flags = notebooks.find_flags(original)
    values = notebooks.bind(flags, request.assignments)
    copy = notebooks.neutralise(notebooks.substitute(original, flags, values))
    root = store.find_project_root(request.notebook, home)
    requirements = _requirements(original, request.notebook, root, request.wanted)
    engine = daemon.connect()
    base = environments.ensure_base(home, engine, progress)
    lock = _resolve(request.notebook, requirements, request.wanted, base, home, engine, progress)
    image = environments.build(base, environments.fetch(lock, base, home, progress), home, engine, progress)
    inputs = store.keep_inputs(request.inputs, request.notebook, root, home, progress)
    source = store.snapshot(root, request.notebook, home, progress, inputs)
    spec = Spec(
        notebook=notebooks.notebook_digest(copy),
        flags=values,
        source=source.digest,
        inputs=inputs,
        image=image.id,
        environment=containers.environment(),
        directory=store.folder_in(root, request.notebook),
    )
    notes = (
        *original.warnings,
        *(f"not in the source snapshot: {path} looks like a secret" for path in source.secrets),
        *(f"not in the source snapshot: {what}" for what in source.left_out),
    )
    for note in notes:
        progress.say(f"  {note}")
    plan = Plan(spec, copy, original, lock.text, image, source, values, inputs, notes)
    return _execute(plan, request.limits, home, engine, progress, on_event)


def _declared(path: Path, wanted: Wanted, home: Home, progress: Progress) -> tuple[Requirements, Base, daemon.Engine]:
    """What a notebook declares, and what it will stand on."""
    notebook = notebooks.read(path)
    requirements = _requirements(notebook, path, store.find_project_root(path, home), wanted)
    engine = daemon.connect()
    return requirements, environments.ensure_base(home, engine, progress), engine


def _requirements(notebook: Notebook, path: Path, root: Path, wanted: Wanted) -> Requirements:
    return notebooks.find_requirements(notebook, path.absolute().parent, root, wanted.requirements, wanted.files)


def _resolve(
    path: Path,
    requirements: Requirements,
    wanted: Wanted,
    base: Base,
    home: Home,
    engine: daemon.Engine,
    progress: Progress,
) -> Lock:
    return environments.resolve(
        requirements,
        base,
        home,
        engine,
        progress,
        resolver=wanted.resolver,
        upgrade=wanted.upgrade,
        locked=wanted.locked,
        as_of=wanted.as_of,
        lock_file=lock_path(path),
    )


def _execute(
    plan: Plan,
    limits: Limits,
    home: Home,
    engine: daemon.Engine,
    progress: Progress,
    on_event: OnEvent,
    rerun_of: str = "",
) -> Record:
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
                on_event=on_event,
            )
        except (EngineUnavailable, BadInput, KeyboardInterrupt):
            store.discard(run)  # nothing was executed, so nothing is recorded
            raise
        return _finish(run, record, outcome, plan.source)


def _finish(run: store.RunDirectory, record: Record, outcome: Outcome, source: Source) -> Record:
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


# --- rerun ------------------------------------------------------------------------------------


def rerun(prefix: str, limits: Limits, home: Home, progress: Progress, on_event: OnEvent) -> Record:
    """Repeat a run from its record alone and compare. Limits that are not given are those of the run."""
    old = find(prefix, home, progress)
    if old.status == "running":
        raise BadInput(f"Run {old.id} is still running.", "Wait until it has ended; `nbseal runs` shows when.")
    engine = daemon.connect()
    kept = store.open_run(home, old.id)
    plan = _recorded_plan(old, kept)
    image = environments.remembered_image(home, old.image) or plan.image
    environments.load_image(image, home, engine, progress)
    limits = Limits(
        timeout=limits.timeout or old.limits.timeout,
        cell_timeout=limits.cell_timeout or old.limits.cell_timeout,
        memory=limits.memory or old.limits.memory,
    )
    return _execute(replace(plan, image=image), limits, home, engine, progress, on_event, rerun_of=old.id)


def _recorded_plan(old: Record, kept: store.RunDirectory) -> Plan:
    """The plan of a recorded run, from its directory, after checking that it still has the recorded hash."""
    spec = Spec.from_json(old.spec, old.inputs)
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


# --- reading ----------------------------------------------------------------------------------


def runs(home: Home, progress: Progress) -> tuple[store.Summary, ...]:
    """All runs, newest first, after settling those whose process died. Damaged ones are named."""
    alive = settle(home, progress)
    for problem in store.damaged_runs(home).values():
        progress.say(problem)
    return tuple(replace(item, status="running") if item.id in alive else item for item in store.list_runs(home))


def find(prefix: str, home: Home, progress: Progress) -> Record:
    """One run by id or hash or the beginning of one."""
    alive = settle(home, progress)
    record = store.load_record(home, store.find_run(home, prefix))
    return replace(record, status="running", outcome=None) if record.id in alive else record


def settle(home: Home, progress: Progress) -> frozenset[str]:
    """Finish the records of runs whose process died; the ids of those whose container is still at work.

    The container outlives its process, so such a run may have completed. Without an engine nothing
    can be said about containers, and so nothing is decided.
    """
    left = store.unfinished(home)
    if not left:
        return frozenset()
    try:
        engine = daemon.connect()
    except EngineUnavailable:
        return frozenset()
    alive = set()
    for run_id in left:
        with store.adopt(home, run_id) as adopted:
            if adopted is None:
                continue
            run, record = adopted
            outcome = containers.settle(engine, run_id, run.spool, lambda event: None)
            if outcome is None:
                alive.add(run_id)
                continue
            record = _finish(run, record, outcome, store.read_source(run))
            progress.say(f"Run {run_id} had lost its process; it is now recorded as {record.status}.")
    return frozenset(alive)


def logs(prefix: str, home: Home, progress: Progress) -> str:
    """What the cells printed, and what the container itself said."""
    run = store.open_run(home, find(prefix, home, progress).id)
    return results.text_log(results.read_executed(_executed(run))) + store.read_log(run)


def page(prefix: str, home: Home, progress: Progress) -> Path:
    """Write the executed notebook as an HTML page into the home's temporary folder; its path."""
    record = find(prefix, home, progress)
    run = store.open_run(home, record.id)
    html = results.render_html(results.read_executed(_executed(run)), f"{record.notebook} · {record.id}")
    path = home.root / "pages" / f"{record.id}.html"
    write_atomic(path, html.encode())
    return path


def _executed(run: store.RunDirectory) -> Path:
    """The executed notebook; while a run is under way, its present state."""
    return run.executed if run.executed.exists() else run.spool / "executed.ipynb"


# --- environments -----------------------------------------------------------------------------


def flags(path: Path) -> tuple[Flag, ...]:
    """The flags of a notebook."""
    return notebooks.find_flags(notebooks.read(path))


def lock_path(notebook: Path) -> Path:
    """Where ``lock`` writes and ``run`` looks."""
    return notebook.with_name(f"{notebook.stem}.requirements.lock")


def lock(path: Path, wanted: Wanted, home: Home, progress: Progress) -> tuple[Path, Lock]:
    """Resolve a notebook's requirements and write the lock beside it."""
    requirements, base, engine = _declared(path, wanted, home, progress)
    lock = _resolve(path, requirements, wanted, base, home, engine, progress)
    target = lock_path(path)
    write_atomic(target, environments.render_lock(lock).encode())
    return target, lock


def build(path: Path, wanted: Wanted, home: Home, progress: Progress) -> tuple[Image, Lock]:
    """Build a notebook's image without running anything."""
    requirements, base, engine = _declared(path, wanted, home, progress)
    lock = _resolve(path, requirements, wanted, base, home, engine, progress)
    return environments.build(base, environments.fetch(lock, base, home, progress), home, engine, progress), lock


def base_build(home: Home, progress: Progress, *, repin: bool) -> Base:
    """The base of this version of nbseal, built when it is missing or when its packages are pinned anew."""
    engine = daemon.connect()
    if repin:
        return environments.build_base(home, engine, progress, repin=True)
    return environments.ensure_base(home, engine, progress)


def base_list(home: Home) -> tuple[Base, ...]:
    """The bases in the home."""
    return environments.list_bases(home)


def base_export(prefix: str, output: Path, home: Home, progress: Progress) -> None:
    """Write a base to one file; BadInput when the prefix fits none or several."""
    fitting = [base.id for base in environments.list_bases(home) if bare(base.id).startswith(bare(prefix))]
    if len(fitting) != 1:
        known = ", ".join(bare(identity)[:12] for identity in fitting) or "none"
        raise BadInput(f"'{prefix}' names {len(fitting)} bases ({known}).", "`nbseal base list` shows what is there.")
    environments.export_base(home, fitting[0], output, progress)


def base_import(file: Path, home: Home, progress: Progress) -> Base:
    """Take a base from a file."""
    return environments.import_base(home, file, progress)
