"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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
BaseOption = Annotated[
    str | None,
    typer.Option("--base", metavar="NAME", help="On this base: its id, or its image's name; default: Debian's."),
]
LockedOption = Annotated[bool, typer.Option("--locked", help="Refuse when the lock beside the notebook is stale.")]
AsOfOption = Annotated[
    str | None, typer.Option("--as-of", metavar="DATE", help="Resolve as the index was on this day (YYYY-MM-DD).")
]
TimeoutOption = Annotated[float | None, typer.Option(min=0.1, metavar="SECONDS", help="Limit for the whole notebook.")]
CellTimeoutOption = Annotated[float | None, typer.Option(min=0.1, metavar="SECONDS", help="Limit for one cell.")]
MemoryOption = Annotated[
    str | None, typer.Option("--memory", metavar="SIZE", help="Memory limit, as 512m or 4g; default: all there is.")
]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="NAME[,NAME]",
        help="On which machine ('local' is this one), or on which of several has most room; default: `hosts default`.",
    ),
]
OneHostOption = Annotated[str | None, typer.Option("--host", metavar="NAME", help="On which machine.")]
JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", min=1, metavar="N", help="At most so many runs at once; one to a GPU.")
]
ViaOption = Annotated[
    str | None,
    typer.Option(metavar="HOST/REPO", help="Send the image through this repository of a registry."),
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Return once it has started; `attach` follows it.")]
CpuOption = Annotated[bool, typer.Option("--cpu", help="Without the GPUs that the run asked for; the record says so.")]
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
