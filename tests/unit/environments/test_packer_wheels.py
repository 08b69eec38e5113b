"""One wheel into one layer tar: the layout, bytecode and RECORD that it gets, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import marshal
import stat
import struct
import sys
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.environments.packing import layout
from engine.environments.packing.layer import Damaged, pack
from engine.environments.packing.layout import Refused

PREFIX = "/opt/kernel"
SITE = f"opt/kernel/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
INFO = "demo-1.0.dist-info"
METADATA = {
    f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{INFO}/RECORD": "",
}


def write_wheel(path: Path, files: Mapping[str, str | bytes], *, whole: bool = True, mode: int = 0o644) -> Path:
    """A wheel of these files; ``whole`` adds the metadata that each needs."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**(METADATA if whole else {}), **files}.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def packed(wheel: Path) -> tuple[bytes, str]:
    output = io.BytesIO()
    diff_id, size = pack(wheel, hashlib.sha256(wheel.read_bytes()).hexdigest(), output, PREFIX, 315532800)
    assert size == len(output.getvalue())
    return output.getvalue(), diff_id


def unpacked(wheel: Path) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    data, _ = packed(wheel)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return {
            member.name: (member, file.read() if (file := archive.extractfile(member)) else b"") for member in archive
        }


def refusal(wheel: Path) -> str:
    with pytest.raises(Refused) as caught:
        packed(wheel)
    return str(caught.value)


# --- what it becomes --------------------------------------------------------------------------


def test_tar_is_sorted_and_normalised(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "a.whl", {"demo/b.py": "x = 1\n", "demo/__init__.py": "", "demo/a.so": b"\x7fELF"})
    data, diff_id = packed(wheel)
    assert diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert "opt" in [member.name for member in members]
    for member in members:
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 315532800)
        assert member.mode == (0o755 if member.isdir() else 0o644)
        assert member.isdir() or member.isreg()
        assert not member.pax_headers


def test_same_wheel_gives_the_same_bytes(tmp_path: Path) -> None:
    files = {
        f"demo/m{number}.py": f"def f{number}(x):\n    return x in {{'a', None, {number}}}\n" for number in range(50)
    }
    wheel = write_wheel(tmp_path / "a.whl", files)
    assert packed(wheel) == packed(wheel)


def test_bytecode_is_unchecked_and_names_the_installed_path(tmp_path: Path) -> None:
    source = "def f():\n    return 42\n"
    files = unpacked(write_wheel(tmp_path / "a.whl", {"demo/m.py": source}))
    cached = importlib.util.cache_from_source("m.py", optimization="")
    data = files[f"{SITE}/demo/{cached}"][1]
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert struct.unpack("<I", data[4:8]) == (0b01,)  # PEP 552: hash-based, not checked
    assert data[8:16] == importlib.util.source_hash(source.encode())
    code = marshal.loads(data[16:])  # noqa: S302 - our own bytes
    assert code.co_filename == f"/{SITE}/demo/m.py"


@pytest.mark.parametrize("source", ["print 'Python 2'\n", b"\xff\xfe", b"a\0b", "(" * 5000, "-" * 100_000 + "1"])
def test_what_does_not_compile_is_installed_without_bytecode(tmp_path: Path, source: str | bytes) -> None:
    files = unpacked(write_wheel(tmp_path / "a.whl", {"demo/py2.py": source, "demo/ok.py": ""}))
    assert [name for name in files if name.endswith(".pyc")] == [
        f"{SITE}/demo/{importlib.util.cache_from_source('ok.py', optimization='')}"
    ]
    assert f"{SITE}/demo/py2.py" in files


def test_test_modules_have_bytecode_too(tmp_path: Path) -> None:
    sources = ["demo/tests/test_a.py", "demo/tests/__init__.py", "demo/test_support.py"]
    files = unpacked(write_wheel(tmp_path / "a.whl", dict.fromkeys(sources, "")))
    compiled = {importlib.util.source_from_cache(name) for name in files if name.endswith(".pyc")}
    assert compiled == {f"{SITE}/{source}" for source in sources}


def test_schemes_scripts_and_launchers(tmp_path: Path) -> None:
    data = "demo-1.0.data"
    wheel = write_wheel(
        tmp_path / "a.whl",
        {
            f"{data}/purelib/pure.py": "",
            f"{data}/platlib/plat.py": "",
            f"{data}/data/share/demo/x.txt": "x",
            f"{data}/headers/demo.h": "h",
            f"{data}/scripts/tool": "#!python -E\nprint(1)\n",
            f"{data}/scripts/shell": "#!/bin/sh\n",
            f"{INFO}/entry_points.txt": "[console_scripts]\nDemo = demo.cli:App.main [extra]\n[other]\nx = y\n",
        },
    )
    files = unpacked(wheel)
    assert {f"{SITE}/pure.py", f"{SITE}/plat.py", "opt/kernel/share/demo/x.txt"} <= files.keys()
    assert f"opt/kernel/include/site/{SITE.split('/')[3]}/demo/demo.h" in files
    assert files["opt/kernel/bin/tool"][1] == b"#!/opt/kernel/bin/python3\nprint(1)\n"
    assert files["opt/kernel/bin/shell"][1] == b"#!/bin/sh\n"
    launcher = files["opt/kernel/bin/Demo"][1].decode()
    assert launcher.startswith("#!/opt/kernel/bin/python3\n")
    assert "from demo.cli import App\n" in launcher
    assert "sys.exit(App.main())" in launcher
    for name in ("tool", "shell", "Demo"):
        assert files[f"opt/kernel/bin/{name}"][0].mode == 0o755
    assert not any("site-packages/demo-1.0.data" in name for name in files)


def test_record_lists_what_is_installed(tmp_path: Path) -> None:
    wheel = write_wheel(
        tmp_path / "a.whl",
        {"demo.py": "x = 1\n", "demo-1.0.data/scripts/tool": "#!python\n", f"{INFO}/INSTALLER": "somebody"},
    )
    files = unpacked(wheel)
    rows = list(csv.reader(io.StringIO(files[f"{SITE}/{INFO}/RECORD"][1].decode())))
    assert rows == sorted(rows)
    listed = {row[0] for row in rows}
    assert {f"{SITE}/{name}" for name in listed if not name.startswith("..")} == {
        name for name, (member, _) in files.items() if member.isreg() and name.startswith(SITE)
    }
    assert "../../../bin/tool" in listed
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["demo.py"] == ["sha256=" + record_digest(b"x = 1\n"), "6"]
    assert by_name["../../../bin/tool"][0] == "sha256=" + record_digest(b"#!/opt/kernel/bin/python3\n")
    assert files[f"{SITE}/{INFO}/INSTALLER"][1] == b"nbseal\n"


def record_digest(data: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def test_executables_stay_executable(tmp_path: Path) -> None:
    files = unpacked(write_wheel(tmp_path / "a.whl", {"demo/bin/program": b"\x7fELF"}, mode=0o755))
    assert files[f"{SITE}/demo/bin/program"][0].mode == 0o755


def test_long_and_foreign_names_survive(tmp_path: Path) -> None:
    long, foreign = "demo/" + "/".join(["folder" * 20] * 4) + "/x.txt", "demo/Grüße-文件.txt"
    files = unpacked(write_wheel(tmp_path / "a.whl", {long: "1", foreign: "2"}))
    assert files[f"{SITE}/{long}"][1] == b"1"
    assert files[f"{SITE}/{foreign}"][1] == b"2"


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../x.py", "demo/../../x.py", "demo//x.py", "demo/./x.py", "demo\\x.py", "demo/\nx.py"),
        *("demo/.wh.numpy", ".wh..wh..opq", "demo/" + "n" * 256, "d/" * 2000 + "x"),
        *("demo-1.0.data/purelib/../../../../bin/x", "demo-1.0.data/unknown/x", "demo-1.0.data/scripts"),
        *("demo-1.0.data/data/bin/python3", "demo-1.0.data/data/pyvenv.cfg", "demo-1.0.data/scripts/python"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    refusal(write_wheel(tmp_path / "a.whl", {name: "x"}))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    path = write_wheel(tmp_path / "a.whl", {})
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("demo/link")
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "'demo/link'" in refusal(path)


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path / "a.whl", {"demo.py": "1"})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("demo.py", "2")
    assert "twice" in refusal(path)


def test_two_entries_for_one_place_are_refused(tmp_path: Path) -> None:
    assert "two entries" in refusal(write_wheel(tmp_path / "a.whl", {"x.py": "1", "demo-1.0.data/purelib/x.py": "2"}))


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    assert "a file and a folder" in refusal(write_wheel(tmp_path / "a.whl", {"x": "1", "x/y": "2"}))


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wheel(tmp_path / "a.whl", {"demo/zeros": bytes(1 << 20)})
    monkeypatch.setattr(layout, "LARGEST", 1 << 19)
    assert "unpacks to" in refusal(path)


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    # As in the known bombs: many directory entries for the same compressed bytes.
    path = write_wheel(tmp_path / "a.whl", {})
    content = bytes(1 << 16) + b"end"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("demo/kernel", content)
        first = archive.getinfo("demo/kernel")
        for number in range(20):
            info = zipfile.ZipInfo(f"demo/k{number}")
            info.header_offset, info.CRC = first.header_offset, first.CRC
            info.file_size = info.compress_size = len(content)
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    assert "overlap" in refusal(path)


@pytest.mark.parametrize("missing", ["WHEEL", "RECORD"])
def test_metadata_must_be_there(tmp_path: Path, missing: str) -> None:
    files = {name: text for name, text in METADATA.items() if not name.endswith(missing)}
    assert missing in refusal(write_wheel(tmp_path / "a.whl", files, whole=False))


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    assert "version 1" in refusal(write_wheel(tmp_path / "a.whl", {f"{INFO}/WHEEL": "Wheel-Version: 2.0\n"}))


@pytest.mark.parametrize("folders", [{}, {**METADATA, "other-2.dist-info/WHEEL": "Wheel-Version: 1.0\n"}])
def test_there_must_be_one_metadata_folder(tmp_path: Path, folders: Mapping[str, str]) -> None:
    assert ".dist-info folders" in refusal(write_wheel(tmp_path / "a.whl", {"x.py": "", **folders}, whole=False))


@pytest.mark.parametrize(
    "text",
    [
        "[console_scripts]\nx = demo\n",
        "[console_scripts]\nx = demo:main; import os\n",
        "[console_scripts]\nx = os:system('true')\n",
        "[console_scripts]\nx = demo.class-:main\n",
        "[console_scripts]\n../x = demo:main\n",
        "[console_scripts]\na/b = demo:main\n",
        "[console_scripts]\npython3 = demo:main\n",
        "no section\n",
        b"\xff\xff",
    ],
)
def test_entry_points_that_name_no_function_are_refused(tmp_path: Path, text: str | bytes) -> None:
    refusal(write_wheel(tmp_path / "a.whl", {f"{INFO}/entry_points.txt": text}))


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    path.write_bytes(b"<html>not a wheel</html>" * 100)
    assert "zip" in refusal(path)


def test_damaged_content_is_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path / "a.whl", {"demo/data": bytes(range(256)) * 100})
    data = bytearray(path.read_bytes())
    start = data.find(b"demo/data") + len(b"demo/data")
    data[start + 20] ^= 0xFF
    path.write_bytes(data)
    assert "zip" in refusal(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_damage_anywhere_is_refused_or_does_no_harm(tmp_path: Path, where: float, bits: int) -> None:
    path = write_wheel(tmp_path / "a.whl", {"demo/m.py": "x = 1\n", f"{INFO}/entry_points.txt": "[console_scripts]\n"})
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= bits
    path.write_bytes(data)
    try:
        names = list(unpacked(path))
    except (Refused, OSError):
        return
    assert all(name == "opt" or name.startswith("opt/kernel") for name in names)


def test_another_file_than_promised_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        pack(write_wheel(tmp_path / "a.whl", {}), "0" * 64, io.BytesIO(), PREFIX, 0)
