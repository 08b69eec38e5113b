"""What belongs to recorded runs, wherever in the home it lies: each thing once, however many runs share it."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from engine import __version__, archives, daemon, environments, results, store
from engine.archives import layout
from engine.digests import bare, sha256_bytes
from engine.errors import BadInput, EngineUnavailable, EnvironmentFailed, VerificationFailed
from engine.files import read_regular
from engine.model import Record
from engine.pipeline.plan import Plan, recorded_plan
from engine.pipeline.reading import recorded
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base, DebianPackage, Image, Layer, Wheel

_MAX_MANIFEST = 256 << 20
#: What of a record becomes part of a path, or of a line.
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z")
_FORGED = "It was forged; take the run from a backup or another home."
NO_WHEELS = "Leave such files out with --no-wheels, or put it back into the home from where it was used."


@dataclass(frozen=True)
class _Run:
    """A run about to be archived: what it was to execute, where it lies, and how it is told of."""

    plan: Plan
    folder: store.RunDirectory
    told: archives.ArchivedRun


@dataclass(frozen=True)
class Gathered:
    """The whole payload of an archive, its documents included."""

    contents: archives.Contents
    members: tuple[archives.Member, ...]
    layers: tuple[Layer, ...]
    vouched: store.Vouched
    lost: Mapping[str, str] = field(default_factory=dict)  # "source" or "inputs", and what is gone of it


class IngredientLost(EnvironmentFailed):
    """A wheel or a Debian package that the home once had."""


def gather(
    prefixes: Sequence[str], left_out: Sequence[str], home: Home, progress: Progress, *, as_it_is: bool = False
) -> Gathered:
    """Find everything; what is gone and can be made again is. Nothing large is read.

    With ``as_it_is`` nothing in the home is settled, healed or made again: EngineUnavailable when the image is gone,
    and of content that is gone it is said in ``lost``.
    """
    look, connect = (_look, _refuse) if as_it_is else (recorded, daemon.connect)
    runs = {run.told.record.id: run for run in (_run(*look(prefix, home, progress)) for prefix in prefixes)}
    ordered = [runs[identity] for identity in sorted(runs)]
    vouched = store.vouch(home, {run.told.record.id: f"sha256:{run.told.seal}" for run in ordered}, heal=not as_it_is)
    missing = [
        item
        for run in ordered
        for item in lacking(run.told.record, run.folder, left_out, in_ledger=run.told.record.id in vouched.proofs)
    ]
    contents = archives.Contents(tuple(run.told for run in ordered), tuple(left_out), tuple(missing))
    found: dict[str, archives.Member] = {}
    lost: dict[str, str] = {}
    for run in ordered:
        for member in (*_files(run), *_blobs(run, left_out, home, lost if as_it_is else None)):
            found[member.path] = member
        lines = vouched.entries[run.told.record.id]
        entries = archives.of_bytes(layout.ledger(run.told.record.id), b"".join(line + b"\n" for line in lines))
        found[entries.path] = entries
    images = {run.plan.image.id: run.plan.image for run in ordered}
    bases = {image.base: environments.load_base(home, image.base) for image in images.values()}
    for member in _environment(images.values(), bases, home, wheels="wheels" not in left_out):
        found[member.path] = member
    layers: tuple[Layer, ...] = ()
    if "image" not in left_out:
        whole = [
            archives.WholeImage(*environments.hold_image(image, home, connect, progress)) for image in images.values()
        ]
        layers = tuple({layer.diff_id: layer for item in whole for layer in item.image.layers}.values())
        found.update(archives.image_members(whole, partial(environments.layer_file, home=home)))
    folders = sorted({path.partition("/")[0] for path in found} - {layout.RUNS})
    for name, data in documents(contents, folders).items():
        found[name] = archives.of_bytes(name, data)
    return Gathered(contents, tuple(found.values()), layers, vouched, lost)


def documents(contents: archives.Contents, folders: Sequence[str]) -> dict[str, bytes]:
    """What an archive with these folders beside runs/ says of itself."""
    return {
        layout.README: archives.readme(contents).encode(),
        layout.CRATE: archives.crate(contents, folders),
        layout.CONTENTS: archives.to_json(contents),
    }


def _look(prefix: str, home: Home, progress: Progress) -> tuple[Record, store.RunDirectory]:
    """A run as it lies there, whose files are as they were recorded."""
    record = store.load_record(home, store.find_run(home, prefix))
    if record.status == "running":
        raise BadInput(
            f"Run {record.id} has not ended.", "Wait until it has; `nbseal runs` settles what was broken off."
        )
    folder = store.open_run(home, record.id)
    store.verify_run(folder, record)
    return record, folder


def _refuse() -> daemon.Engine:
    raise EngineUnavailable("Layers of the image are gone.", "`nbseal rerun --image-only` makes them again.")


def _run(record: Record, folder: store.RunDirectory) -> _Run:
    plan = recorded_plan(record, folder)
    if record.image != plan.image.id:
        raise VerificationFailed(f"Run {record.id} names another image than its hash covers.", _FORGED)
    if not (_DIGEST.fullmatch(plan.image.id) and _TIME.fullmatch(archives.ended(record))):
        raise VerificationFailed(f"The record of run {record.id} has an image or a time that is none.", _FORGED)
    environments.check_wheels(record.wheels)
    files = store.sealed_files(folder, record)
    inside = f"{layout.PROJECT}/"
    if layout.must_be_packed([path for path in files if not path.startswith(inside)]):
        raise VerificationFailed(f"Run {record.id} has a file with a name that no archive can hold.", _FORGED)
    seal = bare(sha256_bytes(read_regular(folder.path / store.MANIFEST, _MAX_MANIFEST)))
    packed = layout.must_be_packed([path for path in files if path.startswith(inside)])
    return _Run(plan, folder, archives.ArchivedRun(record, seal, files, packed))


def lacking(
    record: Record, folder: store.RunDirectory, left_out: Sequence[str], *, in_ledger: bool
) -> Iterator[archives.Missing]:
    """What belongs to a run and is in no archive of it; ``in_ledger`` says whether the ledger has its seal."""
    for item in record.inputs:
        if not item.kept and "inputs" not in left_out:
            yield archives.Missing(f"input {item.target} of run {record.id}", "it was too large to be kept")
    try:
        irregular = store.read_irregular(folder)
    except (OSError, ValueError, RecursionError):
        raise VerificationFailed(f"The {store.IRREGULAR} of run {record.id} is no list of paths.", _FORGED) from None
    for path, (kind, reason) in irregular.items():
        if kind == "uncovered":
            yield archives.Missing(f"{layout.run_folder(record.id)}/{path}", f"the seal does not cover it: {reason}")
    count = sum(kind != "uncovered" for kind, _ in irregular.values())
    if count:
        what = f"{count} links, empty folders or special files of run {record.id}"
        yield archives.Missing(what, f"a bag holds files only; its {store.IRREGULAR} names them")
    if not in_ledger:
        yield archives.Missing(archives.told_missing(record.id), "the ledger has no entry with its seal")


def _files(run: _Run) -> Iterator[archives.Member]:
    """The run's directory, byte for byte, and the page."""
    record, path = run.told.record, run.folder.path
    folder = layout.run_folder(record.id)
    work = []
    for name, (digest, size) in run.told.files.items():
        inside = name.startswith(f"{layout.PROJECT}/")
        executable = inside and bool((path / name).lstat().st_mode & stat.S_IXUSR)
        if inside and run.told.packed:
            work.append(archives.of_file(name, path / name, size, digest, "run", executable=executable))
        else:
            yield archives.of_file(f"{folder}/{name}", path / name, size, digest, "run", executable=executable)
    if work:
        yield archives.packed(f"{folder}/{layout.PROJECT_TAR}", work)
    for name in (store.MANIFEST, store.SIGNATURE):
        if (path / name).is_file():
            yield archives.of_bytes(f"{folder}/{name}", read_regular(path / name, _MAX_MANIFEST), "run")
    yield archives.of_text(layout.page(record.id), lambda: page_of(record, run.folder))


def page_of(record: Record, folder: store.RunDirectory) -> str:
    """A run's executed notebook as a page."""
    return results.render_html(results.read_executed(folder.executed), f"{record.notebook} · {record.id}")


def software() -> str:
    """What writes archives: of two that are the same, documents of the same runs are the same bytes."""
    return f"nbseal {__version__} ({', '.join(results.renderers())})"


def bag_info(contents: archives.Contents) -> list[tuple[str, str]]:
    """What bag-info.txt says beside the size."""
    return [*archives.bag_info(contents), (layout.SOFTWARE, software())]


def _blobs(run: _Run, left_out: Sequence[str], home: Home, lost: dict[str, str] | None) -> Iterator[archives.Member]:
    """What a rerun needs beside the image: source files, and inputs. VerificationFailed unless ``lost`` takes it."""
    wanted = [("source", item.digest, item.size) for item in run.plan.source.files if item.kind != "link"]
    if "inputs" not in left_out:
        wanted += [("inputs", item.digest, item.size) for item in run.plan.inputs if item.kept]
    for part, digest, size in wanted:
        path = store.blob_path(home, digest)
        if not _is_there(path, size):
            gone = f"The home no longer holds the content {digest} of run {run.told.record.id}."
            if lost is None:
                raise VerificationFailed(gone, f"Restore {path} from a backup; without it the run cannot be repeated.")
            lost.setdefault(part, gone)
            continue
        yield archives.of_file(layout.blob(bare(digest)), path, size, bare(digest), "blob")


def _environment(
    images: Iterable[Image], bases: Mapping[str, Base], home: Home, *, wheels: bool
) -> Iterator[archives.Member]:
    """What images are made of, and the lists of it."""
    for image in images:
        yield archives.of_bytes(layout.sbom(bare(image.id)), archives.sbom(image.id, bases[image.base], image.wheels))
        if wheels:
            yield from (_wheel(item, home) for item in image.wheels)
    for base in bases.values():
        for name, data in environments.base_files(base, home).items():
            yield archives.of_bytes(layout.base_file(bare(base.id), name), data)
        if wheels:
            yield from (_wheel(item, home) for item in base.harness)
            yield from (_package(item, home) for item in base.packages)


def _wheel(item: Wheel, home: Home) -> archives.Member:
    path = environments.wheel_file(item, home)
    if not _is_there(path, item.size):
        raise IngredientLost(f"The home has lost the wheel {item.filename} ({item.sha256}).", NO_WHEELS)
    digest = bare(item.sha256)
    return archives.of_file(layout.wheel(digest, item.filename), path, item.size, digest, "wheel")


def _package(item: DebianPackage, home: Home) -> archives.Member:
    path = environments.kept_path(item, home)
    if not _is_there(path, item.size):
        raise IngredientLost(f"The home has lost the Debian package {path.name} ({item.sha256}).", NO_WHEELS)
    digest = bare(item.sha256)
    return archives.of_file(layout.package(digest, path.name), path, item.size, digest, "package")


def _is_there(path: Path, size: int) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size
