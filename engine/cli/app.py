"""The commands as names; each one's module is imported only when it is called, so that --help is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from engine import __version__

app = typer.Typer(
    name="nbseal",
    help="Run a notebook sealed in a container, record it under a hash, rerun it years later.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
base = typer.Typer(help="The base image that every image stands on.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(base, name="base")
keys = typer.Typer(help="The key that signs runs, and whose signatures count.", rich_markup_mode=None)
app.add_typer(keys, name="keys")

NotebookPath = Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="A Jupyter notebook (.ipynb); never changed.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's id or hash, or the beginning of one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
RequirementOption = Annotated[
    list[str] | None,
    typer.Option("--requirement", metavar="REQ", help="A requirement, as 'numpy>=2'. Repeatable."),
]
FilesOption = Annotated[
    list[Path] | None,
    typer.Option("-r", "--requirements", metavar="FILE", help="A requirements file, plain or hash-locked. Repeatable."),
]
ResolverOption = Annotated[Literal["uv", "pip-tools"], typer.Option("--resolver", help="Who resolves requirements.")]
UpgradeOption = Annotated[bool, typer.Option("--upgrade", help="Resolve anew, to the latest versions.")]
LockedOption = Annotated[bool, typer.Option("--locked", help="Refuse when the lock beside the notebook is stale.")]
AsOfOption = Annotated[
    str | None, typer.Option("--as-of", metavar="DATE", help="Resolve as the index was on this day (YYYY-MM-DD).")
]
TimeoutOption = Annotated[float | None, typer.Option(min=0.1, metavar="SECONDS", help="Limit for the whole notebook.")]
CellTimeoutOption = Annotated[float | None, typer.Option(min=0.1, metavar="SECONDS", help="Limit for one cell.")]
MemoryOption = Annotated[
    str | None, typer.Option("--memory", metavar="SIZE", help="Memory limit, as 512m or 4g; default: all there is.")
]

ArchiveOption = Annotated[
    Path | None, typer.Option("--archive", metavar="FILE", help="In an archive, which is checked and not imported.")
]
ArchivesOption = Annotated[
    list[Path] | None,
    typer.Option("--archive", metavar="FILE", help="Also look for runs in this archive, which is checked. Repeatable."),
]
AtLeastOption = Annotated[
    Literal["identical", "equivalent", "close", "different"] | None,
    typer.Option("--at-least", help="The worst verdict that is good enough; default: equivalent."),
]
ExactOption = Annotated[bool, typer.Option("--exact", help="Only identical is good enough.")]


@app.command()
def run(
    notebook: NotebookPath,
    flags: Annotated[
        list[str] | None, typer.Argument(metavar="[FLAG=VALUE]...", help="Values for the notebook's flags.")
    ] = None,
    requirement: RequirementOption = None,
    requirements: FilesOption = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="PATH[=TARGET]", help="A data file, mounted read-only. Repeatable."),
    ] = None,
    resolver: ResolverOption = "uv",
    upgrade: UpgradeOption = False,
    locked: LockedOption = False,
    as_of: AsOfOption = None,
    timeout: TimeoutOption = None,
    cell_timeout: CellTimeoutOption = None,
    memory: MemoryOption = None,
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
        running.environment(requirement, requirements, resolver, upgrade, locked, as_of),
        running.limits(timeout, cell_timeout, memory),
        deterministic=deterministic,
        as_json=as_json,
    )


@app.command()
def rerun(
    run: RunName,
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
    at_least: AtLeastOption = None,
    exact: ExactOption = False,
    as_json: Json = False,
) -> int:
    """Repeat a run from its record alone and judge how it came out: identical, equivalent, close, different.

    RUN may be oci://HOST/REPOSITORY[:TAG|@DIGEST]; it is pulled first.
    """
    from engine.cli import running, verifying

    required = verifying.required(at_least, exact=exact)
    limits = running.limits(timeout, cell_timeout, memory)
    judged = exact or at_least is not None
    if image_only:
        running.refuse_beside_image_only(assignments or [], limits, judged=judged)
    elif assignments:
        running.refuse_judging(judged=judged)
    if run.startswith("oci://"):
        from engine.cli import sharing

        run = sharing.fetched(run)
    if image_only:
        return running.rebuild(run, as_json=as_json)
    if assignments:
        return running.rerun_with(run, assignments, limits, as_json=as_json)
    return running.rerun(run, limits, required, as_json=as_json)


@app.command()
def verify(
    run: RunName,
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="With which run of the same hash; default: what it repeats.")
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


@app.command()
def runs(
    everything: Annotated[bool, typer.Option("--all", help="Also the experiments of `verify --diagnose`.")] = False,
    archive: ArchiveOption = None,
    as_json: Json = False,
) -> int:
    """List the runs, newest first."""
    from engine.cli import importing, reading

    if archive is not None:
        return importing.runs(archive, as_json=as_json)
    return reading.runs(everything=everything, as_json=as_json)


@app.command()
def show(run: RunName, archive: ArchiveOption = None, as_json: Json = False) -> int:
    """Show one run: flags, scalars, files, how it ended."""
    from engine.cli import importing, reading

    if archive is not None:
        return importing.show(run, archive, as_json=as_json)
    return reading.show(run, as_json=as_json)


@app.command()
def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Ids or hashes, or their beginnings; default: all.")
    ] = None,
    archives: ArchivesOption = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values (RFC 4180).")] = False,
    as_json: Json = False,
) -> int:
    """Show flags and scalars of runs side by side."""
    from engine.cli import comparing

    return comparing.compare(runs or [], archives or [], csv=csv, as_json=as_json)


@app.command()
def diff(
    run: RunName,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another run, by its id or hash.")],
    archives: ArchivesOption = None,
    as_json: Json = False,
) -> int:
    """Show how one run differs from another: flags, environment, source, cells, scalars, files."""
    from engine.cli import comparing

    return comparing.diff(run, other, archives or [], as_json=as_json)


@app.command()
def logs(run: RunName, as_json: Json = False) -> int:
    """Print what a run's cells printed."""
    from engine.cli import reading

    return reading.logs(run, as_json=as_json)


@app.command(name="open")
def open_page(run: RunName, as_json: Json = False) -> int:
    """Render a run's executed notebook to an HTML page and open it in a browser, if there is one."""
    from engine.cli import reading

    return reading.open_page(run, as_json=as_json)


@app.command()
def lock(
    notebook: NotebookPath,
    requirement: RequirementOption = None,
    requirements: FilesOption = None,
    resolver: ResolverOption = "uv",
    upgrade: UpgradeOption = False,
    as_of: AsOfOption = None,
    as_json: Json = False,
) -> int:
    """Resolve a notebook's requirements into NAME.requirements.lock beside it."""
    from engine.cli import building, running

    wanted = running.environment(requirement, requirements, resolver, upgrade, False, as_of)
    return building.lock(notebook, wanted, as_json=as_json)


@app.command()
def build(
    notebook: NotebookPath,
    requirement: RequirementOption = None,
    requirements: FilesOption = None,
    resolver: ResolverOption = "uv",
    upgrade: UpgradeOption = False,
    locked: LockedOption = False,
    as_of: AsOfOption = None,
    as_json: Json = False,
) -> int:
    """Build a notebook's image and print its id."""
    from engine.cli import building, running

    wanted = running.environment(requirement, requirements, resolver, upgrade, locked, as_of)
    return building.build(notebook, wanted, as_json=as_json)


@app.command()
def label(
    run: RunName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A short name; an empty one takes it away.")],
    as_json: Json = False,
) -> int:
    """Name a run for people; the ledger keeps every label that it had."""
    from engine.cli import keeping

    return keeping.label(run, text, as_json=as_json)


@app.command()
def comment(
    run: RunName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What there is to say.")],
    as_json: Json = False,
) -> int:
    """Say something about a run, outside of its hash and its seal."""
    from engine.cli import keeping

    return keeping.comment(run, text, as_json=as_json)


@app.command()
def delete(run: RunName, as_json: Json = False) -> int:
    """Move a run to the trash; its entries in the ledger stay."""
    from engine.cli import keeping

    return keeping.delete(run, as_json=as_json)


@app.command()
def purge(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Deleted runs, by id or the beginning of one.")
    ] = None,
    archived: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Instead: all runs that archives in this folder hold, once these are checked."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Remove deleted or archived runs for good; their entries in the ledger stay."""
    from engine.cli import keeping

    return keeping.purge(runs or [], archived, as_json=as_json)


@app.command()
def fsck(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Check these runs and the ledger; default: all.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A copy of the checkpoint, kept elsewhere, that the ledger has to continue."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Check every byte, seal and entry of the home, and name what was changed."""
    from engine.cli import keeping

    return keeping.fsck(runs or [], against, as_json=as_json)


@app.command()
def doctor(as_json: Json = False) -> int:
    """Say what is there and what is missing."""
    from engine.cli import doctor

    return doctor.doctor(as_json=as_json)


@app.command()
def archive(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Ids or hashes, or the beginnings of them.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="What to write: a new .tar or .tar.zst.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Instead: all runs that ended longer ago, as 36h, 90d or 2y."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="With --older-than: the folder to write archives into.")
    ] = None,
    no_image: Annotated[bool, typer.Option("--no-image", help="Leave out the image.")] = False,
    no_wheels: Annotated[bool, typer.Option("--no-wheels", help="Leave out wheels and Debian packages.")] = False,
    no_inputs: Annotated[bool, typer.Option("--no-inputs", help="Leave out kept inputs.")] = False,
    tsa: Annotated[
        str | None, typer.Option("--tsa", metavar="URL", help="Have the time stamped by this authority (RFC 3161).")
    ] = None,
    as_json: Json = False,
) -> int:
    """Write runs, with all that it takes to check and repeat them, to one file."""
    from engine.cli import archiving

    parts = {"image": no_image, "inputs": no_inputs, "wheels": no_wheels}
    left_out = [part for part, left in parts.items() if left]
    if archiving.is_by_age(runs or [], output, older_than, folder):
        return archiving.archive_older(older_than or "", folder or Path(), left_out, tsa, as_json=as_json)
    return archiving.archive(runs or [], output or Path(), left_out, tsa, as_json=as_json)


@app.command(name="import")
def import_archive(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `archive` wrote, a .tar or .tar.zst.")],
    as_json: Json = False,
) -> int:
    """Take runs from an archive, after checking every byte and signature of it."""
    from engine.cli import importing

    return importing.import_archive(file, as_json=as_json)


@app.command()
def push(
    run: RunName,
    place: Annotated[
        str, typer.Argument(metavar="oci://HOST/REPOSITORY[:TAG]", help="Where to; the tag is the run's id by default.")
    ],
    no_image: Annotated[bool, typer.Option("--no-image", help="Leave out the image.")] = False,
    no_wheels: Annotated[bool, typer.Option("--no-wheels", help="Leave out wheels and Debian packages.")] = False,
    no_inputs: Annotated[bool, typer.Option("--no-inputs", help="Leave out kept inputs.")] = False,
    as_json: Json = False,
) -> int:
    """Send a run, with all that it takes to check and repeat it, to a registry; what is there already is not sent."""
    from engine.cli import sharing

    parts = {"image": no_image, "inputs": no_inputs, "wheels": no_wheels}
    return sharing.push(run, place, [part for part, left in parts.items() if left], as_json=as_json)


@app.command()
def pull(
    place: Annotated[str, typer.Argument(metavar="oci://HOST/REPOSITORY[:TAG|@DIGEST]", help="What `push` printed.")],
    as_json: Json = False,
) -> int:
    """Take a run from a registry, after checking every byte and signature of it, as `import` does."""
    from engine.cli import sharing

    return sharing.pull(place, as_json=as_json)


@app.command()
def audit(
    what: Annotated[str, typer.Argument(metavar="FILE|RUN", help="An archive, or a run's id or hash.")],
    require: Annotated[
        list[str] | None,
        typer.Option("--require", metavar="NAME,...", help="Lines that have to be proven, as signature,timestamp."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the checklist as a page for any browser.")
    ] = None,
    as_json: Json = False,
) -> int:
    """List who, what, when and from which bytes; each proven, claimed, missing or wrong."""
    from engine.cli import auditing

    return auditing.audit(what, auditing.required(require or []), page, as_json=as_json)


@base.command(name="build")
def base_build(
    repin: Annotated[bool, typer.Option("--repin", help="Take today's Debian package versions.")] = False,
    as_json: Json = False,
) -> int:
    """Build the base image, unless it is there."""
    from engine.cli import building

    return building.base_build(repin=repin, as_json=as_json)


@base.command(name="list")
def base_list(as_json: Json = False) -> int:
    """List the bases in the home."""
    from engine.cli import building

    return building.base_list(as_json=as_json)


@base.command(name="export")
def base_export(
    identity: Annotated[str, typer.Argument(metavar="ID", help="A base's id, or the beginning of it.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The tar to write.")],
) -> int:
    """Write a base, with its Debian packages, to one file."""
    from engine.cli import building

    return building.base_export(identity, output)


@base.command(name="import")
def base_import(file: Annotated[Path, typer.Argument(metavar="FILE", help="What `base export` wrote.")]) -> int:
    """Take a base from a file, after checking every digest in it."""
    from engine.cli import building

    return building.base_import(file)


KeyName = Annotated[str | None, typer.Option("--name", help="Whose key it is, as in an e-mail address.")]


@keys.callback(invoke_without_command=True)
def keys_show(context: typer.Context, as_json: Json = False) -> int:
    """Without a command: which key signs, and whose signatures count."""
    if context.invoked_subcommand is not None:
        return 0
    from engine.cli import signers

    return signers.show(as_json=as_json)


@keys.command(name="new")
def keys_new(
    name: KeyName = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take the passphrase from its first line.")
    ] = None,
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Whoever reads the home can sign with the key.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Make an ed25519 key in the home, encrypted with a passphrase, and sign with it."""
    from engine.cli import signers

    return signers.new(name, passphrase_file, unencrypted=unencrypted, as_json=as_json)


@keys.command(name="use")
def keys_use(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A private or .pub file, 'agent', or a fingerprint in the agent.")
    ],
    name: KeyName = None,
    as_json: Json = False,
) -> int:
    """Sign with an OpenSSH key that is there already; its private part stays where it is."""
    from engine.cli import signers

    return signers.use(key, name, as_json=as_json)


@keys.command(name="trust")
def keys_trust(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, as in an e-mail address.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Its public part, a .pub file, or an authority's certificate as PEM.")
    ],
) -> int:
    """Let the signatures of another's key count, or the time stamps under a certificate."""
    from engine.cli import signers

    return signers.trust(name, file)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nbseal {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass
