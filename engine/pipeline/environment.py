"""From what a notebook declares to the image that it runs in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine import daemon, environments, notebooks, store
from engine.digests import bare
from engine.errors import BadInput
from engine.files import write_atomic
from engine.model import Flag, Notebook, Record
from engine.pipeline.plan import recorded_plan
from engine.pipeline.reading import recorded
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base, Image, Lock, Origin, Requirements

_LIST = "`nbseal base list` shows what is there."


@dataclass(frozen=True)
class Wanted:
    """What a user says of the environment on the command line."""

    requirements: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    resolver: Literal["uv", "pip-tools"] = "uv"
    upgrade: bool = False
    locked: bool = False
    as_of: str | None = None
    base: str = ""  # a base's id or name; empty for that of this version


def flags(path: Path) -> tuple[Flag, ...]:
    """The flags of a notebook."""
    return notebooks.find_flags(notebooks.read(path))


def requirements(notebook: Notebook, path: Path, root: Path, wanted: Wanted) -> Requirements:
    """What a notebook, its project and the command line declare."""
    return notebooks.find_requirements(notebook, path.absolute().parent, root, wanted.requirements, wanted.files)


def lock_path(notebook: Path) -> Path:
    """Where ``lock`` writes and ``run`` looks."""
    return notebook.with_name(f"{notebook.stem}.requirements.lock")


def resolve(
    path: Path, declared: Requirements, wanted: Wanted, home: Home, engine: daemon.Engine, progress: Progress
) -> tuple[Base, Lock]:
    """The base, made when it is missing, and the lock for it."""
    base = _base(wanted.base, home, engine, progress)
    lock = environments.resolve(
        declared,
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
    return base, lock


def _base(named: str, home: Home, engine: daemon.Engine, progress: Progress) -> Base:
    """The base that is asked for, held by the engine."""
    if not named:
        return environments.ensure_base(home, engine, progress)
    base = find_base(named, home)
    environments.restore_base(base, home, engine, progress)
    return base


def find_base(named: str, home: Home) -> Base:
    """The base with this id, or the beginning of it, or of an image with this name; BadInput for none or several."""
    if not named:
        raise BadInput("Say which base.", _LIST)
    bases = environments.list_bases(home)
    fitting = [base for base in bases if bare(base.id).startswith(bare(named))]
    fitting = fitting or [base for base in bases if base.origin and _is_name(named, base.origin)]
    if len(fitting) != 1:
        known = ", ".join(bare(base.id)[:12] for base in fitting) or "none"
        raise BadInput(f"'{named[:300]}' names {len(fitting)} bases ({known}).", _LIST)
    return fitting[0]


def _is_name(named: str, origin: Origin) -> bool:
    """Whether it is the reference, the repository, or the end of the repository's name."""
    return named == origin.reference or f"/{origin.repository}".endswith(f"/{named}")


def assemble(base: Base, lock: Lock, home: Home, engine: daemon.Engine, progress: Progress) -> Image:
    """The image of a lock, in the home and in the engine."""
    wheels = environments.fetch(lock, base, home, progress)
    return environments.build(base, wheels, home, engine, progress)


def lock(path: Path, wanted: Wanted, home: Home, progress: Progress) -> tuple[Path, Lock]:
    """Resolve a notebook's requirements and write the lock beside it."""
    declared = _declared(path, wanted, home)
    _, lock = resolve(path, declared, wanted, home, daemon.connect(), progress)
    target = lock_path(path)
    write_atomic(target, environments.render_lock(lock).encode())
    return target, lock


def build(path: Path, wanted: Wanted, home: Home, progress: Progress) -> tuple[Image, Lock]:
    """Build a notebook's image without running anything."""
    declared = _declared(path, wanted, home)
    engine = daemon.connect()
    base, lock = resolve(path, declared, wanted, home, engine, progress)
    return assemble(base, lock, home, engine, progress), lock


def rebuild_image(prefix: str, home: Home, progress: Progress) -> tuple[Record, str]:
    """A run, and the id that its base and wheels give when they are packed anew."""
    old, kept = recorded(prefix, home, progress)
    return old, environments.rebuild(recorded_plan(old, kept).image, home, daemon.connect(), progress)


def _declared(path: Path, wanted: Wanted, home: Home) -> Requirements:
    return requirements(notebooks.read(path), path, store.find_project_root(path, home), wanted)


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
    environments.export_base(home, find_base(prefix, home).id, output, progress)


def base_import(file: Path, home: Home, progress: Progress) -> Base:
    """Take a base from a file."""
    return environments.import_base(home, file, progress)
