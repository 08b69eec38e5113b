"""Where requirements come from, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notebook_builders import notebook

from engine.errors import BadInput
from engine.model import Notebook
from engine.notebooks import find_requirements
from engine.notebooks.reqfiles import read_requirement_file
from engine.notebooks.script import find_script_block
from engine.software import Requirements

HASH = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
SCRIPT = '# /// script\n# requires-python = ">=3.10"\n# dependencies = [\n#   "Numpy>=2",\n# ]\n# ///'


def collect(
    nb: Notebook, folder: Path, *extra: str, files: tuple[Path, ...] = (), project: Path | None = None
) -> Requirements:
    return find_requirements(nb, folder, project or folder, extra, files)


def test_script_block(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("never-read\n")
    found = collect(notebook("# a comment\n\n" + SCRIPT + "\nimport numpy"), tmp_path)
    assert found == Requirements(("numpy>=2",), ("cell 1 line 3: # /// script",), ">=3.10")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (SCRIPT + "\n\n" + SCRIPT, "two script blocks, in cell 1 line 1 and cell 1 line 8"),
        ("# /// script\n# dependencies = [\n# ///", "is not TOML"),
        ("# /// script\n# dependencies = 'numpy'\n# ///", "wrong type"),
        ("# /// script\n# dependencies = [5]\n# ///", "wrong type"),
        ("# /// script\n# requires-python = 3\n# ///", "wrong type"),
        ("# /// script\n# requires-python = 'three'\n# ///", "no valid requires-python"),
        ("# /// script\n# dependencies = ['a b']\n# ///", "not a requirement"),
        ("# /// script\n# dependencies = ['a @ file:///etc/passwd']\n# ///", "names a URL"),
    ],
)
def test_bad_script_blocks(tmp_path: Path, source: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        collect(notebook(source), tmp_path)


def test_two_cells_with_script_blocks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cell 1 line 1 and cell 3 line 1"):
        collect(notebook(SCRIPT, "x = 1", SCRIPT), tmp_path)


@pytest.mark.parametrize(
    "source",
    ["# /// script\n# dependencies = ['a']", "# /// other\n# a = 1\n# ///", "#/// script\n# ///", "x = 1 # /// script"],
)
def test_what_is_no_script_block(source: str) -> None:
    assert find_script_block(notebook(source)) is None


def test_the_last_closing_line_ends_a_block_and_tools_are_passed_over() -> None:
    source = "# /// script\n# dependencies = ['a']\n# [tool.uv]\n# x = '''\n# ///\n# '''\n# ///"
    block = find_script_block(notebook(source))
    assert block is not None
    assert block.requirements == ("a",)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["# /// script", "# ///", "#", "# a = 1", "# dependencies = ['b']", "x", "# /// t"])))
def test_blocks_are_those_of_the_specification(lines: list[str]) -> None:
    """Against the regular expression that PEP 723 gives as the reference."""
    import re

    text = "\n".join([*lines, ""])
    reference = r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"
    expected = [match for match in re.finditer(reference, text) if match["type"] == "script"]
    try:
        block = find_script_block(notebook(text))
    except BadInput:
        return
    assert (block is not None) == (len(expected) == 1)


def test_pip_lines_and_files_and_extras_come_together(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("pandas>=2  # comment\n\n# only comment\nNumPy\n")
    nb = notebook("x = 1\n%pip install numpy 'scipy<2'", "!pip3 install numpy")
    found = collect(nb, tmp_path, "rich", "Numpy")
    assert found.lines == ("numpy", "pandas>=2", "rich", "scipy<2")
    assert found.origins == (
        "cell 1 line 2: %pip install",
        "cell 2 line 1: !pip3 install",
        "requirements.txt",
        "--requirement rich",
        "--requirement Numpy",
    )
    assert found.lock_text == ""


def test_nothing_declared(tmp_path: Path) -> None:
    assert collect(notebook("x = 1"), tmp_path) == Requirements()


def test_files_are_looked_for_beside_the_notebook_then_in_the_project(tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    nb = notebook("x = 1")
    for path in ("requirements.in", "requirements.txt", "sub/requirements.in", "sub/requirements.txt"):
        (tmp_path / path).write_text("from-" + path.replace("/", "-") + "\n")
        found = collect(nb, folder, project=tmp_path)
        assert found.origins == (path,)
        assert found.lines == ("from-" + path.replace("/", "-").replace(".", "-"),)


def test_a_named_file_replaces_the_one_found(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("found\n")
    named = tmp_path / "other.txt"
    named.write_text("named\n")
    found = collect(notebook("!pip install line"), tmp_path, files=(named,))
    assert found.lines == ("line", "named")


def test_pip_line_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    found = collect(notebook("!pip install -r requirements.txt"), tmp_path)
    assert found.lines == ("numpy",)
    assert found.origins == ("cell 1 line 1: !pip install -r requirements.txt",)


@pytest.mark.parametrize(
    "line",
    ["!pip install $X", "!pip install -e .", "!pip install -i https://example.org x", "!pip install -r missing.txt"],
)
def test_unreadable_pip_lines_are_refused_unless_declared(tmp_path: Path, line: str) -> None:
    nb = notebook("x = 1", "y = 2\n" + line)
    with pytest.raises(BadInput) as caught:
        collect(nb, tmp_path)
    assert "--requirement" in caught.value.hint
    if "missing" not in line:
        assert "cell 2 line 2" in caught.value.message
    found = collect(nb, tmp_path, "x")
    assert found.lines == ("x",)
    assert "was passed over" in found.origins[0]


def test_files_of_a_project_do_not_lead_out_of_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "secret.txt").write_text("secret-content\n")
    (project / "linked.txt").symlink_to(tmp_path / "secret.txt")
    lines = ["!pip install -r ../secret.txt", f"!pip install -r {tmp_path}/secret.txt", "!pip install -r linked.txt"]
    for line in lines:
        with pytest.raises(BadInput, match="outside of the project"):
            collect(notebook(line), project)
    (project / "requirements.txt").write_text("-r ../secret.txt\n")
    with pytest.raises(BadInput, match="outside of the project"):
        collect(notebook("x = 1"), project)
    assert collect(notebook("x = 1"), project, files=(project / "requirements.txt",)).lines == ("secret-content",)


def test_includes_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("-r b.txt\none\n")
    (tmp_path / "b.txt").write_text("--requirement=a.txt\ntwo\n")
    assert read_requirement_file(tmp_path / "a.txt", tmp_path).requirements == ("two", "one")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-c constraints.txt", "the option -c"),
        ("--index-url https://example.org\nnumpy", "line 1 sets where packages come from"),
        ("numpy\n--extra-index-url=https://example.org", "line 2 sets where packages come from"),
        ("-f wheels\nnumpy", "sets where packages come from"),
        ("--pre\nnumpy", "the option --pre"),
        ("-e .", "the option -e"),
        ("./local", "local path"),
        ("x.whl", "local path"),
        ("git+https://example.org/x", "not a requirement"),
        ("x @ https://example.org/x.whl", "names a URL"),
        ("x==${VERSION}", "uses a variable"),
        ("x --config-settings=a=b", "option that is not supported"),
        ("not a requirement", "not a requirement"),
        (f"a==1 --hash={HASH}\nb==1", "none for 'b==1'"),
        (f"a>=1 --hash={HASH}", "not pinned"),
        (f"a==1.* --hash={HASH}", "not pinned"),
    ],
)
def test_what_requirement_files_may_not_hold(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(text + "\n")
    for within in (tmp_path, None):
        with pytest.raises(BadInput, match=says) as caught:
            read_requirement_file(path, within)
        assert caught.value.hint


def test_a_hash_locked_file_is_a_lock(tmp_path: Path) -> None:
    # As pip-compile --generate-hashes writes it.
    (tmp_path / "requirements.txt").write_text(
        "# autogenerated by pip-compile --index-url=https://user:password@example.org\n"
        "--index-url https://user:password@example.org/simple\n\n"
        f"numpy==1.26.0 \\\n    --hash={OTHER} \\\n    --hash={HASH}\n    # via -r requirements.in\n"
        f'colorama==0.4 ; sys_platform == "win32" \\\n    --hash={HASH}\n'
    )
    found = collect(notebook("x = 1"), tmp_path, "rich")
    assert found.lines == ('colorama==0.4; sys_platform == "win32"', "numpy==1.26.0", "rich")
    assert found.lock_text == (
        f'colorama==0.4; sys_platform == "win32" \\\n    --hash={HASH}\n'
        f"numpy==1.26.0 \\\n    --hash={HASH} \\\n    --hash={OTHER}\n"
    )


def test_two_locks_are_refused(tmp_path: Path) -> None:
    paths = (tmp_path / "a.txt", tmp_path / "b.txt")
    for path in paths:
        path.write_text(f"a==1 --hash={HASH}\n")
    with pytest.raises(BadInput, match="two hash-locked"):
        collect(notebook("x = 1"), tmp_path, files=paths)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes("numpy\r\npandas # ü\r\n".encode(encoding))
    assert read_requirement_file(path, None).requirements == ("numpy", "pandas")


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes(b"\x80\x81")
    with pytest.raises(BadInput, match="not a text file"):
        collect(notebook("x = 1"), tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        collect(notebook("x = 1"), tmp_path)


def test_bad_requirement_on_the_command_line(tmp_path: Path) -> None:
    for text in ("", "a b", "../x", "x @ https://example.org"):
        with pytest.raises(BadInput, match="--requirement cannot be used"):
            collect(notebook("x = 1"), tmp_path, text)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(list("ab1=.-# \\\n;'\"[]@/$r{}"))) | st.text())
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("req") / "requirements.txt"
    path.write_text(text, encoding="utf-8", errors="ignore", newline="")
    try:
        found = read_requirement_file(path, path.parent)
    except BadInput:
        return
    assert found.lock_text == ""
    for requirement in found.requirements:
        assert requirement.split(";")[0].split("[")[0].split("=")[0].strip().replace("-", "") in "".join(
            char for char in text.lower() if char not in "-_. \\\n"
        )
