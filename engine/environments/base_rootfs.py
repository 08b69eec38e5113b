"""The Debian root file system: mmdebstrap on a local archive of exactly the pinned packages.

mmdebstrap's output depends on nothing but the packages once SOURCE_DATE_EPOCH is set (mmdebstrap(1),
"SOURCE_DATE_EPOCH"), but for copies of this machine's resolv.conf and hostname, the address of the
archive and apt's own state. Those are left out, with what no image needs; licences stay.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine.digests import bare
from engine.environments.debian import ARCHITECTURE
from engine.environments.layers import normalise_tar
from engine.errors import EnvironmentFailed
from engine.progress import Progress
from engine.settings import SOURCE_DATE_EPOCH, Home
from engine.software import DebianPackage, Layer

#: /bin and the like are links into /usr (Debian's merged /usr); it must be so before anything is unpacked.
_MERGED_USR = 'cd "$1" && for name in bin sbin lib lib64; do mkdir -p "usr/$name" && ln -s "usr/$name" "$name"; done'
#: Folders that an image has, but empty: filled at run time, caches, logs, apt's state, devices.
_EMPTY = ("dev", "proc", "run", "sys", "tmp", "var/backups", "var/cache", "var/log")
#: Files and folders that no image needs or that tell of this machine. apt is not installed.
_LEFT_OUT = (
    *("etc/.pwd.lock", "etc/apt", "etc/dpkg/dpkg.cfg.d", "var/lib/apt"),
    *("etc/hostname", "etc/hosts", "etc/machine-id", "etc/resolv.conf"),
    *(f"usr/share/{name}" for name in ("info", "lintian", "locale", "man")),
)
_DOCUMENTATION = "usr/share/doc/"
#: Seconds that mmdebstrap gets to clean up when it is interrupted.
PATIENCE = 30
_INSTALL = "apt-get install mmdebstrap"
_ELSEWHERE = "carry a base over from a Debian machine: `nbseal base export`, `nbseal base import`"


def bootstrap(packages: Sequence[DebianPackage], files: Sequence[Path], home: Home, progress: Progress) -> Layer:
    """Install ``packages``, whose ``files`` are in the same order, into an empty folder; the layer of it.

    Bytecode is left out: it carries the times of its sources, which the layer does not keep. Needs root, or
    user namespaces with ranges in /etc/subuid and /etc/subgid. Raises EnvironmentFailed.
    """
    if shutil.which("mmdebstrap") is None:
        raise EnvironmentFailed(
            "mmdebstrap is not on this machine, so the base image cannot be built.",
            f"On Debian or Ubuntu install it ({_INSTALL}), elsewhere {_ELSEWHERE}.",
        )
    # In the machine's own folder for temporary files: without root mmdebstrap works as another user, who cannot
    # enter a home directory.
    with tempfile.TemporaryDirectory(prefix="nbseal-base-") as name, progress.task("Installing Debian packages"):
        folder = Path(name)
        folder.chmod(0o755)
        _write_archive(packages, files, folder / "archive")
        _run_mmdebstrap([package.name for package in packages], folder)
        with tarfile.open(folder / "root.tar") as source, tarfile.open(folder / "kept.tar", "w") as target:
            for member in source:
                if belongs(member.name.removeprefix("./")):
                    target.addfile(member, source.extractfile(member) if member.isreg() else None)
        return normalise_tar(folder / "kept.tar", home, f"Debian, {len(packages)} packages")


def belongs(path: str) -> bool:
    """Whether the image gets this entry of the root file system; ``path`` without a leading slash."""
    if path in _LEFT_OUT or path.startswith(tuple(f"{name}/" for name in (*_LEFT_OUT, *_EMPTY))):
        return False
    if path.startswith("var/lib/dpkg/") and path.endswith(("-old", "lock", "lock-frontend")):
        return False
    if path.startswith(_DOCUMENTATION):
        inside = path.removeprefix(_DOCUMENTATION).partition("/")[2]
        return not inside or inside == "copyright"
    return "__pycache__" not in path.split("/") and not (path.startswith("etc/") and path.endswith("-"))


def _write_archive(packages: Sequence[DebianPackage], files: Sequence[Path], folder: Path) -> None:
    """A flat archive (sources.list(5)): the files and an index of them, readable for everybody."""
    folder.mkdir()
    index = []
    for package, file in zip(packages, files, strict=True):
        copy = folder / f"{bare(package.sha256)}.deb"
        shutil.copyfile(file, copy)
        copy.chmod(0o644)
        index.append(index_entry(package, _control(copy), copy.name))
    (folder / "Packages").write_text("\n".join(index))
    (folder / "Packages").chmod(0o644)
    folder.chmod(0o755)


def index_entry(package: DebianPackage, control: str, file: str) -> str:
    """A package's paragraph of the index: its own control file and where it is (deb822(5))."""
    return f"{control.strip()}\nFilename: ./{file}\nSize: {package.size}\nSHA256: {bare(package.sha256)}\n"


def _control(file: Path) -> str:
    done = subprocess.run(["dpkg-deb", "--field", str(file)], capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise EnvironmentFailed(f"dpkg-deb cannot read a Debian package: {done.stderr.strip()[-300:]}")
    return done.stdout


def _run_mmdebstrap(names: Sequence[str], folder: Path) -> None:
    """Leave the root file system as ``root.tar`` in ``folder``."""
    # Root could do without, but then the whole machine would see what mmdebstrap mounts, even after its death.
    mode = "auto" if os.geteuid() else "unshare"
    command = [
        *("mmdebstrap", "--variant=custom", f"--mode={mode}", "--format=tar", f"--architectures={ARCHITECTURE}"),
        # All at once: mmdebstrap's larger variants install apt first, and use it from inside.
        f"--include={','.join(names)}",
        *("--skip=check/qemu", "--skip=check/signed-by"),
        # dpkg would wait for the disk seven thousand times, for files that are packed and removed a minute later.
        "--dpkgopt=force-unsafe-io",
        f"--setup-hook={_MERGED_USR}",
        # The files were checked against their pins, so the archive around them is trusted.
        *("", str(folder / "root.tar"), f"deb [trusted=yes] copy://{folder}/archive ./"),
    ]
    # Maintainer scripts see this and nothing of the machine's environment.
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "HOME": "/root",
        "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH),
        "PERL_HASH_SEED": "0",
        "PYTHONHASHSEED": "0",
    }
    environment |= {name: os.environ[name] for name in ("TMPDIR", "USER", "LOGNAME") if name in os.environ}
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        umask=0o022,
        start_new_session=True,  # an interrupt from the terminal reaches it once, through us
    ) as process:
        try:
            said = process.communicate()[1]
        except BaseException:
            _stop(process)
            raise
    if process.returncode:
        reasons = [line[3:] for line in said.splitlines() if line.startswith("E: ")]
        reason = "; ".join(dict.fromkeys(reasons))[-600:] or said.strip()[-600:]
        hint = f"Build the base once as root, or {_ELSEWHERE}."
        raise EnvironmentFailed(
            f"mmdebstrap failed: {reason.rstrip('.')}.",
            hint if os.geteuid() else f"See mmdebstrap(1), or {_ELSEWHERE}.",
        )


def _stop(process: subprocess.Popen[str]) -> None:
    """Let mmdebstrap remove its folder, which may belong to a user that we are not; not for ever."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
