"""The tar in which a run directory goes to another machine."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.containers.launch import Folders
from engine.containers.remote.parcel import parcel
from engine.containers.user import User


def made(root: Path) -> Folders:
    folders = Folders(root / "project", root / "spool")
    for folder in (folders.project, folders.spool, folders.identity):
        folder.mkdir()
    (folders.identity / "passwd").write_text("nbseal:x:10001:10001::/:\n")
    (folders.identity / "group").write_text("nbseal:x:10001:\n")
    return folders


def test_what_is_sent(tmp_path: Path) -> None:
    folders = made(tmp_path)
    (folders.project / "sub").mkdir()
    (folders.project / "sub/run.sh").write_text("#!/bin/sh\n")
    (folders.project / "sub/run.sh").chmod(0o755)
    (folders.project / "link").symlink_to("/etc/passwd")
    os.mkfifo(folders.project / "fifo")
    (folders.project / ("long" * 50)).write_bytes(b"x" * 1000)
    (folders.project / "gr\u00fcn \udcff").touch()
    (folders.spool / "notebook.ipynb").write_text("{}")
    data = b"".join(parcel(folders, User(10001, 10001)))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {member.name: member for member in tar}
        assert tar.extractfile(members["project/sub/run.sh"]).read() == b"#!/bin/sh\n"  # type: ignore[union-attr]
    assert members["project/sub/run.sh"].mode == 0o755
    assert members["project/link"].linkname == "/etc/passwd"
    assert "project/fifo" not in members
    assert {"run/nbseal", "run/nbseal/notebook.ipynb", f"project/{'long' * 50}", "project/gr\u00fcn \udcff"} < set(
        members
    )
    assert {members[name].uid for name in ("etc/passwd", "etc/group")} == {0}
    assert {member.uid for name, member in members.items() if not name.startswith("etc/")} == {10001}


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60).filter(
            lambda n: n not in (".", "..")
        ),
        st.binary(max_size=2000),
        max_size=5,
    )
)
def test_any_files_arrive_as_they_are(files: dict[str, bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        folders = made(Path(folder))
        for name, content in files.items():
            (folders.project / name).write_bytes(content)
        data = b"".join(parcel(folders, User(1, 1)))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            found = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
    assert {
        name.removeprefix("project/"): content for name, content in found.items() if name.startswith("project/")
    } == files
