"""The story, straight-line and typed: a notebook becomes a record, a record becomes the same run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from engine import archives, containers, daemon, environments, hosts, notebooks, store
from engine.digests import bare, digest_of
from engine.errors import BadInput, Detached, EngineUnavailable
from engine.link import Link
from engine.model import Json, Limits, Record, Spec
from engine.pipeline import environment, gpus
from engine.pipeline.harvest import finish
from engine.pipeline.launching import Where, launch_of, link_to
from engine.pipeline.plan import Plan, derived_plan, recorded_plan
from engine.pipeline.reading import directory_of, ended
from engine.pipeline.room import find_place, measure
from engine.pipeline.sending import check_way, ensure_base, ensure_image
from engine.progress import Progress
from engine.settings import Home

OnEvent = Callable[[Json], None]
#: By default: not another machine, unless the home says so.
_HERE = Where()


@dataclass(frozen=True)
class Request:
    """What a user asks ``run`` for. ``inputs`` are PATH[=TARGET], ``assignments`` FLAG=VALUE."""

    notebook: Path
    assignments: tuple[str, ...]
    inputs: tuple[str, ...]
    wanted: environment.Wanted
    limits: Limits
    deterministic: bool = False
    where: Where = _HERE
    gpus: str | None = None  # all, a number, or which ones


def run(request: Request, home: Home, progress: Progress, on_event: OnEvent) -> Record:
    """Run a notebook and record it. The record says how it ended; only what prevents a record raises."""
    asked = "" if request.gpus is None else str(containers.parse_gpus(request.gpus))
    original = notebooks.read(request.notebook)
    flags = notebooks.find_flags(original)
    values = notebooks.bind(flags, request.assignments)
    copy = notebooks.neutralise(notebooks.substitute(original, flags, values))
    root = store.find_project_root(request.notebook, home)
    declared = environment.requirements(original, request.notebook, root, request.wanted)
    with _opened(request.where, home, progress, gpus=asked) as link:
        engine = daemon.connect() if link.is_remote else link.engine
        inputs = store.keep_inputs(request.inputs, request.notebook, root, home, progress)
        source = store.snapshot(root, request.notebook, home, progress, inputs, archives.is_archive)
        _say_where(link, progress)
        given = gpus.planned(asked, link.engine) if asked else None
        base, lock = environment.resolve(request.notebook, declared, request.wanted, home, engine, progress)
        if given is not None:
            ensure_base(base, link, home, progress, request.where.via)  # to ask them from
            given = gpus.granted(given, base, lock, link.engine, progress)
        image = environment.assemble(base, lock, home, engine, progress)
        spec = Spec(
            notebook=notebooks.notebook_digest(copy),
            flags=values,
            source=source.digest,
            inputs=inputs,
            image=image.id,
            environment=containers.environment(
                containers.MEASURES if request.deterministic else (), environments.search_path(base.origin)
            ),
            directory=store.folder_in(root, request.notebook),
            gpus=asked,
        )
        notes = (
            *original.warnings,
            *(origin for origin in declared.origins if " was passed over: " in origin),
            *(f"not in the source snapshot: {path} looks like a secret" for path in source.secrets),
            *(f"not in the source snapshot: {what}" for what in source.left_out),
        )
        for note in notes:
            progress.say(f"  {note}")
        plan = Plan(spec, copy, original, lock.text, image, source, values, inputs, notes, given)
        if link.is_remote:
            ensure_image(image, link, home, progress, request.where.via)
        return execute(plan, request.limits, home, link, progress, on_event, detach=request.where.detach)


def rerun(
    prefix: str,
    limits: Limits,
    home: Home,
    progress: Progress,
    on_event: OnEvent,
    where: Where = _HERE,
    *,
    assignments: tuple[str, ...] | None = None,
    cpu: bool = False,
) -> Record:
    """Repeat a run from its record alone and compare. Limits that are not given are those of the run.

    With ``assignments`` it has other flag values: that is a new spec, whose record names the run as its parent.
    ``cpu`` lets it go without the GPUs that its spec asks for.
    """
    old = ended(prefix, home, progress)
    wanted = "" if cpu else str(old.spec.get("gpus", ""))
    with _opened(where, home, progress, gpus=wanted) as link:
        kept = directory_of(old, home)
        plan = recorded_plan(old, kept) if assignments is None else derived_plan(old, kept, assignments)
        plan = _restored(plan, home, link, progress, where.via, cpu=cpu)
        repeated, parent = (old.id, "") if assignments is None else ("", old.id)
        return execute(
            plan,
            _limits(old, limits),
            home,
            link,
            progress,
            on_event,
            rerun_of=repeated,
            parent=parent,
            detach=where.detach,
        )


def restore(old: Record, home: Home, link: Link, progress: Progress) -> Plan:
    """The plan of a recorded run, its image held by the engine."""
    return _restored(recorded_plan(old, directory_of(old, home)), home, link, progress)


@contextmanager
def _opened(where: Where, home: Home, progress: Progress, *, gpus: str) -> Iterator[Link]:
    """The way to a host, which opens while this machine does its part; of several, to the one with the most room."""
    names = hosts.resolve(hosts.read(home), where.host)
    for name in names:
        check_way(link_to(name, home), where.via)
    host = names[0]
    if len(names) > 1:
        host = find_place(gpus, measure(names, home, progress, gpus=bool(gpus)), []) or host
    with link_to(host, home) as link:
        if link.is_remote:
            link.begin()
        yield link


def _say_where(link: Link, progress: Progress) -> None:
    """Who answers there, before anything is built: which engine is used is never a surprise."""
    if link.is_remote:
        progress.say(f"  runs on {link.engine}")


def _restored(plan: Plan, home: Home, link: Link, progress: Progress, via: str = "", *, cpu: bool = False) -> Plan:
    _say_where(link, progress)
    if not cpu:
        gpus.planned(plan.spec.gpus, link.engine)  # refused before an image is made again
    image = environments.remembered_image(home, plan.image.id) or plan.image
    ensure_image(image, link, home, progress, via)
    return gpus.with_gpus(replace(plan, image=image), link.engine, progress, cpu=cpu)


def _limits(old: Record, limits: Limits) -> Limits:
    return replace(
        old.limits,
        timeout=limits.timeout or old.limits.timeout,
        cell_timeout=limits.cell_timeout or old.limits.cell_timeout,
        memory=limits.memory or old.limits.memory,
    )


def display(on_event: OnEvent) -> OnEvent:
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
    link: Link,
    progress: Progress,
    on_event: OnEvent,
    *,
    rerun_of: str = "",
    parent: str = "",
    experiment: str = "",
    detach: bool = False,
) -> Record:
    """Execute a plan, whose image the engine holds, and record it; see ``Record`` for its relatives.

    With ``detach`` the record says "running".
    """
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
    document = notebooks.to_document(plan.notebook)
    launch = launch_of(record, [store.materialise(item, home) for item in plan.inputs], home)
    with store.begin_run(home, record, plan.original.original, document, plan.lock, plan.source) as run:
        launch = replace(launch, home=store.home_id(home), gpus=plan.gpus)  # which the first run of a home gives it
        try:
            outcome = containers.execute(
                link, launch, run.project, run.spool, display(on_event), progress.say, detach=detach
            )
        except Detached:
            raise  # the run may be under way: it stays as it is, to be settled later
        except (EngineUnavailable, BadInput, KeyboardInterrupt):
            store.discard(run)  # nothing was executed, so nothing is recorded
            raise
        if outcome is None:
            return record
        finished = finish(run, record, outcome, plan.source)
        containers.forget(link, launch, run.project, run.spool)
        return finished
