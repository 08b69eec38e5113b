"""The nouns of runs: frozen dataclasses that the stages take and return, and their JSON form.

Digests are strings ``sha256:<64 hex>``. Times are UTC, ISO 8601 with ``Z``. Sizes are bytes,
durations are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.settings import PLATFORM
from engine.software import Wheel

Json = dict[str, Any]


def json_number(value: float) -> float | str:
    """A number as our JSON holds it: RFC 8259 has no NaN or infinities, so these are strings."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


# --- the notebook -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One cell. ``source`` uses LF line ends; ``metadata`` and ``attachments`` as in nbformat v4."""

    id: str
    kind: Literal["code", "markdown", "raw"]
    source: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    attachments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tags(self) -> tuple[str, ...]:
        tags = self.metadata.get("tags", ())
        return tuple(str(tag) for tag in tags) if isinstance(tags, (list, tuple)) else ()


@dataclass(frozen=True)
class Notebook:
    """A user's document, whatever its source format; ``original`` is the file byte for byte."""

    name: str
    original: bytes
    language: str
    cells: tuple[Cell, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: What the user should know about the document itself (upgraded from v3, Python 2 code, ...).
    warnings: tuple[str, ...] = ()


FlagType = Literal["int", "float", "bool", "str", "list", "dict", "tuple", "any"]


@dataclass(frozen=True)
class Place:
    """Where a literal stands: cell index, and offsets in characters of that cell's source."""

    cell: int
    line: int
    start: int
    end: int


@dataclass(frozen=True)
class Flag:
    """A typed parameter of the notebook. ``default`` is a Python literal's text."""

    name: str
    type: FlagType
    default: str
    origin: Literal["form", "parameters", "assignment"]
    places: tuple[Place, ...]
    help: str = ""


@dataclass(frozen=True)
class FlagValue:
    """A flag's effective value: Python literal text, because JSON cannot tell 1 from 1.0 or hold nan."""

    name: str
    type: FlagType
    literal: str


# --- the spec ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceFile:
    """One entry of a source snapshot; ``path`` is relative, with forward slashes."""

    path: str
    kind: Literal["file", "executable", "link"]
    digest: str  # of the bytes; for a link, of its target text
    size: int
    target: str = ""


@dataclass(frozen=True)
class Source:
    """The snapshot of a project: its files, sorted by path, and what was left out on purpose."""

    digest: str
    files: tuple[SourceFile, ...]
    secrets: tuple[str, ...] = ()  # files that look like secrets, left out and named
    left_out: tuple[str, ...] = ()  # what else could not be taken and why, as "path: reason"


@dataclass(frozen=True)
class Input:
    """A declared data file, mounted read-only at ``target`` (relative to the project)."""

    target: str
    digest: str
    size: int
    kept: bool  # whether the home holds its bytes (up to 1 GiB)
    path: str = ""  # where it was on this machine; never part of the spec


@dataclass(frozen=True)
class Spec:
    """Everything that can change the result, and nothing else. Its digest is the hash."""

    notebook: str
    flags: tuple[FlagValue, ...]
    source: str
    inputs: tuple[Input, ...]
    image: str
    environment: Mapping[str, str]
    directory: str = "."
    network: bool = False
    gpus: str = ""  # which GPUs were asked for; not which were found
    platform: str = PLATFORM
    schema: int = 1

    def to_json(self) -> Json:
        """The canonical form; a field at its default is left out, so that a new field moves no old hash."""
        spec: Json = {
            "schema": self.schema,
            "notebook": self.notebook,
            "flags": [[flag.name, flag.type, flag.literal] for flag in self.flags],
            "source": self.source,
            "inputs": [[item.target, item.digest] for item in self.inputs],
            "image": self.image,
            "environment": dict(self.environment),
            "platform": self.platform,
        }
        if self.directory != ".":
            spec["directory"] = self.directory
        if self.network:
            spec["network"] = True
        if self.gpus:
            spec["gpus"] = self.gpus
        return spec

    @staticmethod
    def from_json(document: Json, inputs: tuple[Input, ...]) -> Spec:
        """The spec of a record, whose inputs say more than their digests. KeyError or ValueError when it is none."""
        return Spec(
            notebook=str(document["notebook"]),
            flags=tuple(_flag_value(*flag) for flag in document["flags"]),
            source=str(document["source"]),
            inputs=inputs,
            image=str(document["image"]),
            environment=dict(document["environment"]),
            directory=str(document.get("directory", ".")),
            network=bool(document.get("network", False)),
            gpus=str(document.get("gpus", "")),
            platform=str(document["platform"]),
            schema=int(document["schema"]),
        )


def _flag_value(name: Any, kind: Any, literal: Any) -> FlagValue:
    if not all(isinstance(part, str) for part in (name, kind, literal)):
        raise ValueError("a flag is no text")
    return FlagValue(name, kind, literal)


# --- the run ----------------------------------------------------------------------------------

Status = Literal["completed", "failed", "interrupted", "lost", "running"]


@dataclass(frozen=True)
class Limits:
    """What stops a run. They are not part of the spec: they decide whether it ends, not with what."""

    timeout: float | None = None  # seconds for the whole notebook
    cell_timeout: float | None = None  # seconds for one cell
    memory: int | None = None  # bytes; None is what the machine has
    processes: int = 4096
    shared_memory: int = 1 << 30
    work_tree: int = 20 << 30  # bytes that project/ may hold


@dataclass(frozen=True)
class CellError:
    """Why a notebook stopped: the cell, the exception's name and value, its traceback without escapes."""

    cell: int
    name: str
    value: str
    traceback: str


@dataclass(frozen=True)
class Outcome:
    """How an execution ended. ``reason`` is one sentence when it did not complete."""

    status: Status
    reason: str = ""
    error: CellError | None = None
    limit: str = ""  # "memory", "timeout", "cell_timeout", "work_tree" when one was hit
    exit_code: int | None = None
    started: str = ""
    finished: str = ""
    duration: float = 0.0
    host: Mapping[str, Any] = field(default_factory=dict)  # CPU model, kernel, engine: not in the spec


@dataclass(frozen=True)
class Scalar:
    """One value that a cell printed. ``step`` is None when it was not said."""

    name: str
    value: float
    step: int | None
    cell: int


@dataclass(frozen=True)
class OutputFile:
    """A file of the work tree that the run wrote, changed or deleted."""

    path: str
    change: Literal["added", "changed", "deleted"]
    size: int
    sha256: str
    media_type: str


Verdict = Literal["identical", "equivalent", "close", "different"]
#: From best to worst.
VERDICTS: tuple[Verdict, ...] = ("identical", "equivalent", "close", "different")


@dataclass(frozen=True)
class Difference:
    """One unit that is not identical: ``where`` is "cell 3 output 1", "scalar loss", "file out.csv"."""

    where: str
    detail: str
    verdict: Verdict = "different"
    normalisers: tuple[str, ...] = ()  # the named ones without which it would be worse
    largest: float | None = None  # the largest relative difference of its numbers
    likeness: float | None = None  # of pictures: structural similarity, at most 1


@dataclass(frozen=True)
class Comparison:
    """How a run compares with the one that it repeats; the verdict is that of its worst unit."""

    verdict: Verdict
    units: int  # how many outputs, scalars and files were compared
    differences: tuple[Difference, ...] = ()
    tolerance: float = 0.0  # the relative difference up to which numbers were called close
    without: tuple[str, ...] = ()  # normalisers that were switched off


CauseKind = Literal["random", "clock", "hash-order", "threads", "identity", "hardware", "network", "unexplained"]


@dataclass(frozen=True)
class Cause:
    """Why one unit comes out differently, found by experiment. Cells and lines count from 1."""

    unit: str  # as in ``Difference.where``
    cell: int | None  # whose unit it is; None for a file that no cell was seen to write
    kind: CauseKind
    evidence: str
    enters: str = ""  # "cell 2 line 3: x = random()", where that could be found


@dataclass(frozen=True)
class Record:
    """run.json: what was asked, what happened, and the digests of what came out."""

    id: str
    hash: str  # of the spec, 64 hex digits
    status: Status
    notebook: str  # the user's file name, without a folder
    image: str
    base: str
    spec: Json
    created: str
    limits: Limits
    flags: tuple[FlagValue, ...] = ()
    source: str = ""
    wheels: tuple[Wheel, ...] = ()
    inputs: tuple[Input, ...] = ()
    outcome: Outcome | None = None  # None while the run is under way
    scalars: Mapping[str, float] = field(default_factory=dict)  # name to last value
    outputs: tuple[OutputFile, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)  # in old records only: digests, before there was a manifest
    rerun_of: str = ""
    parent: str = ""  # the run from whose spec this one's was derived
    experiment: str = ""  # of a run that was made to find causes: what was held or changed
    comparison: Comparison | None = None
    notes: tuple[str, ...] = ()  # what the user was told and a reader should know: secrets left out, ...
    schema: int = 2


@dataclass(frozen=True)
class Seal:
    """The digest over every file of a finished run, and whose signature it carries."""

    digest: str = ""  # of the manifest; empty when the run is not sealed
    signature: Literal["unsigned", "trusted", "unknown", "bad"] = "unsigned"
    signer: str = ""  # the name in allowed_signers, else the key's fingerprint
    reason: str = ""  # why a signature is missing where there should be one, is bad, or does not count
    late: bool = False  # sealed or entered into the ledger after the fact
    key: str = ""  # fingerprint of the key that signed
    when: str = ""  # as of which time it counts, where the key is limited

    def __str__(self) -> str:
        told = {
            "unsigned": "unsigned",
            "trusted": f"signed by {self.signer} (trusted)",
            "unknown": f"signed by {self.signer} (unknown key)",
            "bad": "bad signature",
        }[self.signature]
        return f"{told}: {self.reason}" if self.reason else told
