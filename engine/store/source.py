"""The source snapshot: which folder is the project, what of it is taken, and fresh copies of it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.digests import digest_of, sha256_bytes
from engine.errors import BadInput, VerificationFailed
from engine.files import open_regular, sync_directory
from engine.model import Input, Source, SourceFile
from engine.progress import Progress
from engine.settings import SOURCE_DATE_EPOCH, Home
from engine.store.blobs import blob_path, copy_out, keep
from engine.store.exclusions import judge_file, judge_folder
from engine.store.gitindex import GitIndex, read_git_index

MAX_FILES = 100_000
MAX_BYTES = 10 << 30
#: Waiting for the disk is most of the work with many small files; eight waits overlap well.
_THREADS = 8


def lexical(path: Path) -> Path:
    """Absolute and without ``..``, links kept: resolving them would make another project of a linked folder."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def folder_in(root: Path, notebook: Path) -> str:
    """The notebook's folder relative to its project, with forward slashes; "." for the project itself."""
    folder = lexical(notebook).parent.relative_to(root).as_posix()
    if not _is_clean(folder):
        raise BadInput(f"The folder {folder!a} has a name that is not plain text.", "Rename it.")
    return folder


def find_project_root(notebook: Path, home: Home) -> Path:
    """The folder whose files a notebook may use, as an absolute path without ``..`` and with links kept.

    The nearest folder upwards with nbseal.yml or guild.yml, else the git top level (``.git`` is a
    folder, or a file in a worktree), else the notebook's folder. Never the user's home directory,
    a folder above it, ``/`` or a folder that everyone may write to (as /tmp): only when the notebook
    lies directly in such a folder is it returned, and ``snapshot`` takes nothing there. ``home`` is
    not a project either.
    """
    folder = lexical(notebook).parent
    candidates = []
    for parent in (folder, *folder.parents):
        if is_shared(parent) or _same(parent, home.root):
            break
        candidates.append(parent)
    for parent in candidates:
        if (parent / "nbseal.yml").is_file() or (parent / "guild.yml").is_file():
            return parent
    for parent in candidates:
        if (parent / ".git").exists():
            return parent
    return folder


def is_shared(folder: Path) -> bool:
    """Whether a folder is nobody's project: ``/``, the home directory or above it, /tmp and its like."""
    folder = folder.resolve()
    if folder in (Path("/"), Path(tempfile.gettempdir()).resolve()):
        return True
    try:
        user = Path.home().resolve()
    except RuntimeError:  # no HOME and no entry in passwd
        user = Path("/")
    if folder == user or folder in user.parents:
        return True
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_ISVTX and mode & stat.S_IWOTH)


def snapshot(
    root: Path,
    notebook: Path,
    home: Home,
    progress: Progress,
    inputs: Sequence[Input] = (),
    is_archive: Callable[[Path], bool] = lambda _: False,
) -> Source:
    """The project as it is now; the bytes of every file are kept in the home.

    Left out: ``notebook`` itself (a run keeps it apart), what a declared input hides, what ``exclusions`` names, and
    archives of runs, which ``is_archive`` knows. Line ends that git converted in its checkout are as git keeps them.
    Neither times nor the umask nor the order of the walk enter the digest.
    BadInput for names that no record can hold, unreadable files, and projects beyond MAX_FILES or MAX_BYTES.
    """
    if is_shared(root):
        reason = "a shared folder or home directory is not taken as a project; give the notebook a folder of its own"
        return Source(digest_of([]), (), (), (f"the files beside the notebook: {reason}",))
    hidden = {item.target for item in inputs} | {os.path.relpath(lexical(notebook), root)}
    walk = _Walk(root, home, hidden, is_archive)
    found = sorted(walk.files(), key=lambda item: item.path)  # by code point, which is UTF-8's byte order too
    total, index = sum(item.size for item in found), read_git_index(root)
    with progress.task("reading the project", total) as advance, ThreadPoolExecutor(_THREADS) as pool:
        files = []
        for file in pool.map(lambda item: _take(root, item, home, index), found):
            files.append(file)
            advance(file.size)
    for folder in {blob_path(home, file.digest).parent for file in files if file.kind != "link"}:
        sync_directory(folder)
    return Source(tree_digest(files), tuple(files), tuple(sorted(walk.secrets)), tuple(sorted(walk.left_out)))


def tree_digest(files: Sequence[SourceFile]) -> str:
    """The identity of a snapshot: paths, kinds and digests."""
    return digest_of([[file.path, file.kind, file.digest] for file in files])


def checkout(source: Source, home: Home, into: Path) -> None:
    """Write fresh copies (the run changes them) below the folder ``into``: 0644 or 0755, links last.

    VerificationFailed when kept bytes are gone or damaged, or when the snapshot does not have its
    digest or names a path outside ``into``.
    """
    check_source(source)
    into.mkdir(parents=True, exist_ok=True)
    folders = sorted({parent for file in source.files for parent in PurePosixPath(file.path).parents})
    for folder in folders:
        (into / folder).mkdir(parents=True, exist_ok=True)
        (into / folder).chmod(0o755)
    # One after the other, and with one time: a notebook may list them in the file system's order, or by time.
    modes = {"file": 0o644, "executable": 0o755}
    for file in source.files:
        if file.kind != "link":
            copy_out(home, file.digest, into / file.path, modes[file.kind])
    for file in source.files:
        if file.kind == "link":
            (into / file.path).symlink_to(file.target)
    for path in [*(file.path for file in source.files), *(str(folder) for folder in reversed(folders))]:
        os.utime(into / path, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH), follow_symlinks=False)


def check_source(source: Source) -> None:
    """VerificationFailed unless the digest fits and every path and link stays inside: records may come from others."""
    if tree_digest(source.files) != source.digest:
        raise VerificationFailed("The source snapshot does not have its digest.", "Its source.json was changed.")
    folders: set[str] = set()
    paths = {file.path for file in source.files}
    for file in source.files:
        folders.update(str(parent) for parent in PurePosixPath(file.path).parents)
        inside = is_inside(file.path) and (file.kind != "link" or _stays_inside(file.path, file.target))
        if not inside or (file.kind == "link" and sha256_bytes(os.fsencode(file.target)) != file.digest):
            raise VerificationFailed(
                f"The source snapshot names '{file.path[:200]}', which is not a safe path.",
                "Its source.json was changed.",
            )
    # A path below another entry would be written through a link, or below a file.
    if len(paths) != len(source.files) or paths & folders:
        raise VerificationFailed("The source snapshot names a path twice.", "Its source.json was changed.")


def is_inside(path: str) -> bool:
    """Whether a path with forward slashes is relative and plain: no ``.``, no ``..``, no control characters."""
    parts = path.split("/")
    return all(part not in ("", ".", "..") for part in parts) and _is_clean(path)


def _is_clean(text: str) -> bool:
    """Without control characters, and UTF-8 (a byte that is not arrives as a lone surrogate)."""
    return not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) < 0xE000 for char in text)


def _stays_inside(path: str, target: str) -> bool:
    if not target or target.startswith("/") or not _is_clean(target):
        return False
    reached = os.path.normpath(f"{PurePosixPath(path).parent}/{target}")
    return reached != ".." and not reached.startswith("../")


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


@dataclass(frozen=True)
class _Found:
    """An entry to take: relative path, size in bytes as the walk saw it, and a link's target."""

    path: str
    size: int
    target: str = ""


class _Walk:
    """One pass over a project; ``secrets`` and ``left_out`` fill while ``files`` is consumed."""

    def __init__(self, root: Path, home: Home, hidden: set[str], is_archive: Callable[[Path], bool]) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)
        self._home = os.path.realpath(home.root)
        self._hidden = hidden
        self._is_archive = is_archive
        self._count = 0
        self._bytes = 0
        self.secrets: list[str] = []
        self.left_out: list[str] = []

    def files(self) -> Iterator[_Found]:
        pending = [""]
        while pending:
            folder = pending.pop()
            entries = _list(self._root / folder)
            beside = {entry.name for entry in entries}
            if folder:
                judgement = judge_folder(PurePosixPath(folder).name, beside)
                if judgement == "secret":
                    self.secrets.append(printable(f"{folder}/"))
                if judgement != "take" or os.path.realpath(self._root / folder) == self._home:
                    continue
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    with suppress(FileNotFoundError):  # removed since the folder was listed
                        if found := self._judge(path, entry, beside):
                            yield found

    def _judge(self, path: str, entry: os.DirEntry[str], beside: set[str]) -> _Found | None:
        judgement = judge_file(entry.name, beside)
        if judgement == "secret":
            self.secrets.append(printable(path))
        if judgement != "take" or path in self._hidden:
            return None
        status = entry.stat(follow_symlinks=False)
        target = ""
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(entry.path)  # noqa: PTH115 (pathlib would tidy the text)
            if not self._keeps_link(path, target):
                self.left_out.append(f"{printable(path)}: a link that does not stay in the project")
                return None
        elif not stat.S_ISREG(status.st_mode):
            self.left_out.append(f"{printable(path)}: not a regular file")
            return None
        elif self._is_archive(self._root / path):
            self.left_out.append(f"{printable(path)}: an archive of runs")
            return None
        if not is_inside(path):
            raise BadInput(
                f"The file name {printable(path)!r} has control characters or is not UTF-8, so no record can hold it.",
                "Rename the file or move it out of the project.",
            )
        self._bound(status.st_size)
        return _Found(path, status.st_size, target)

    def _keeps_link(self, path: str, target: str) -> bool:
        if not _stays_inside(path, target):
            return False
        # What the text says may still lead out by way of another link.
        real = os.path.realpath(self._root / path)
        return real == self._real_root or real.startswith(self._real_root.rstrip("/") + "/")

    def _bound(self, size: int) -> None:
        self._count += 1
        self._bytes += size
        if self._count > MAX_FILES or self._bytes > MAX_BYTES:
            raise BadInput(
                f"The project {self._root} holds more than {MAX_FILES:,} files or {MAX_BYTES >> 30} GiB.",
                "Keep data outside it and declare it with --input PATH, or give the notebook a folder of its own "
                "with an empty nbseal.yml.",
            )


def _list(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _take(root: Path, found: _Found, home: Home, index: GitIndex) -> SourceFile:
    if found.target:
        target = os.fsencode(found.target)
        return SourceFile(found.path, "link", sha256_bytes(target), len(target), found.target)
    try:
        with open_regular(root / found.path) as file:
            executable = os.fstat(file.fileno()).st_mode & stat.S_IXUSR
            digest, size = keep(home, index.as_kept(found.path, file, found.size), lambda _: None)
    except OSError as error:
        raise _unreadable(root / found.path, error) from error
    return SourceFile(found.path, "executable" if executable else "file", digest, size)


def _unreadable(path: Path, error: OSError) -> BadInput:
    return BadInput(
        f"'{printable(str(path))}' cannot be read: {error.strerror or error}.",
        "Make it readable, or move it out of the project.",
    )


def printable(text: str) -> str:
    """A file name for people: bytes that are not UTF-8 and control characters as escapes."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
