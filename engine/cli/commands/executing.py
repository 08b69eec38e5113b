"""Commands that execute notebooks, and judge how they came out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.commands.app import app
from engine.cli.commands.options import (
    AsOfOption,
    AtLeastOption,
    BaseOption,
    CellTimeoutOption,
    CpuOption,
    DetachOption,
    ExactOption,
    FilesOption,
    HostOption,
    JobsOption,
    Json,
    LockedOption,
    MemoryOption,
    NotebookPath,
    OneHostOption,
    RequirementOption,
    ResolverOption,
    RunName,
    TimeoutOption,
    UpgradeOption,
    ViaOption,
)


@app.command()
def run(
    notebook: NotebookPath,
    flags: Annotated[
        list[str] | None, typer.Argument(metavar="FLAG=VALUE", help="Values for the notebook's flags.")
    ] = None,
    requirement: RequirementOption = None,
    requirements: FilesOption = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="PATH[=TARGET]", help="A data file, mounted read-only. Repeatable."),
    ] = None,
    base: BaseOption = None,
    resolver: ResolverOption = "uv",
    upgrade: UpgradeOption = False,
    locked: LockedOption = False,
    as_of: AsOfOption = None,
    timeout: TimeoutOption = None,
    cell_timeout: CellTimeoutOption = None,
    memory: MemoryOption = None,
    host: HostOption = None,
    via: ViaOption = None,
    detach: DetachOption = False,
    gpus: Annotated[
        str | None, typer.Option("--gpus", metavar="all|N|ID,ID", help="GPUs: all, how many, or which.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Hold seeds, frameworks and the wall clock steady.")
    ] = False,
    help_flags: Annotated[bool, typer.Option("--help-flags", help="List the notebook's flags and stop.")] = False,
    as_json: Json = False,
) -> int:
    """Run a notebook in a sealed container and record it under a hash."""
    from engine.cli import running

    if help_flags:
        return running.help_flags(notebook, as_json=as_json)
    return running.run(
        notebook,
        flags or [],
        inputs or [],
        running.environment(requirement, requirements, resolver, upgrade, locked, as_of, base),
        running.limits(timeout, cell_timeout, memory),
        deterministic=deterministic,
        where=running.where(host, via, detach=detach),
        gpus=gpus,
        as_json=as_json,
    )


@app.command()
def rerun(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Runs' ids or hashes, or beginnings of them.")],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="FLAG=VALUE", help="Another value for a flag: a new spec. Repeatable."),
    ] = None,
    image_only: Annotated[
        bool, typer.Option("--image-only", help="Run nothing: pack the image again and compare its id.")
    ] = False,
    timeout: TimeoutOption = None,
    cell_timeout: CellTimeoutOption = None,
    memory: MemoryOption = None,
    host: HostOption = None,
    via: ViaOption = None,
    detach: DetachOption = False,
    jobs: JobsOption = 1,
    cpu: CpuOption = False,
    at_least: AtLeastOption = None,
    exact: ExactOption = False,
    as_json: Json = False,
) -> int:
    """Repeat runs from their records alone and judge how they came out: identical, equivalent, close, different.

    RUN may be oci://HOST/REPOSITORY[:TAG|@DIGEST]; it is pulled first.
    """
    from engine.cli import running, several, sharing, verifying

    required = verifying.required(at_least, exact=exact)
    limits = running.limits(timeout, cell_timeout, memory)
    judged = exact or at_least is not None
    if image_only:
        running.refuse_beside_image_only(assignments or [], limits, judged=judged or cpu, several=len(runs) > 1)
    elif assignments:
        running.refuse_judging(judged=judged)
    runs = [sharing.fetched(run) if run.startswith("oci://") else run for run in runs]
    place = running.where(host, via, detach=detach)
    if image_only:
        return running.rebuild(runs[0], as_json=as_json)
    if len(runs) > 1:
        return several.rerun(runs, assignments or [], limits, required, place, jobs, cpu=cpu, as_json=as_json)
    if assignments:
        return running.rerun_with(runs[0], assignments, limits, place, cpu=cpu, as_json=as_json)
    return running.rerun(runs[0], limits, required, place, cpu=cpu, as_json=as_json)


@app.command()
def attach(run: RunName, as_json: Json = False) -> int:
    """Follow a run that goes on without anybody: what was missed first, then what comes; and fetch its results."""
    from engine.cli import running

    return running.attach(run, as_json=as_json)


@app.command()
def stop(run: RunName, host: OneHostOption = None, as_json: Json = False) -> int:
    """Stop a run, on whatever machine: the cell is interrupted, what was printed is kept.

    With --host it need not be a run of this home.
    """
    from engine.cli import running

    return running.stop(run, host or "", as_json=as_json)


@app.command()
def verify(
    run: RunName,
    other: Annotated[
        str | None, typer.Argument(metavar="OTHER", help="With which run of the same hash; default: what it repeats.")
    ] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Compare with the outputs stored in the notebook itself.")
    ] = False,
    at_least: AtLeastOption = None,
    exact: ExactOption = False,
    tolerance: Annotated[
        float | None,
        typer.Option(metavar="X", help="Relative difference up to which numbers are close; default: 1e-5."),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="NAME", help="Switch a normaliser off. Repeatable.")
    ] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Find the cause of each difference by experiment.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="Time for experiments; default: 1800.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with both sides of each difference.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Compare two runs of one hash, or a run with the notebook's own outputs, unit by unit."""
    from engine.cli import verifying

    required = verifying.required(at_least, exact=exact)
    rules = verifying.rules(tolerance, without)
    limit = verifying.budget(budget, diagnose=diagnose)
    return verifying.verify(run, other, rules, required, stored=stored, budget=limit, page=page, as_json=as_json)
