"""pip lines: what they ask for, and their neutral form."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notebook_builders import code, notebook

from engine.notebooks import neutralise
from engine.notebooks.cells import mask
from engine.notebooks.piplines import find_pip_lines


def asks(line: str) -> tuple[str, ...] | str:
    """The requirements of the one pip line, its problem, or "" when it is none."""
    lines = find_pip_lines(notebook(line))
    assert len(lines) <= 1
    return "" if not lines else lines[0].problem or lines[0].requirements


@pytest.mark.parametrize(
    "line",
    [
        "%pip install numpy",
        "!pip install numpy",
        "!pip3 install numpy",
        "! pip install numpy",
        "%pip3 install numpy",
        "!python -m pip install numpy",
        "!python3 -m pip install numpy",
        "!{sys.executable} -m pip install numpy",
        '!"{sys.executable}" -m pip install numpy',
        "pip install numpy",
        "%uv pip install numpy",
        "!uv pip install --system numpy",
        "!sudo pip install numpy",
        "out = !pip install numpy",
        "if True:\n    !pip install numpy",
        "!pip -q install numpy",
        "%pip install -q -U --upgrade --quiet numpy",
        "%pip install -qU numpy  # a comment, isn't it",
        "!pip install \\\n   numpy",
        "!pip install numpy > /dev/null",
        "!pip install numpy >/dev/null 2>&1",
        "!pip install numpy &> /dev/null",
        "%pip install numpy;",
        "!pip install --progress-bar off --root-user-action=ignore numpy",
        "!pip install 'numpy'",
        "%%capture\n!pip install numpy",
    ],
)
def test_ways_to_ask_for_numpy(line: str) -> None:
    assert asks(line) == ("numpy",)
    after = neutralise(notebook(line)).cells[0].source
    assert after.count("\n") == line.count("\n")
    assert find_pip_lines(notebook(after)) == ()
    masked = mask(after)
    assert masked is not None
    ast.parse(masked)


@pytest.mark.parametrize(
    ("line", "requirements"),
    [
        ("!pip install numpy==1.26 'pandas>=2,<3' Foo.Bar[b,a]", ("numpy==1.26", "pandas<3,>=2", "foo-bar[a,b]")),
        ("!pip install numpy>=1.2", ("numpy>=1.2",)),
        ("""!pip install "tomli; python_version < '3.11'" """, ('tomli; python_version < "3.11"',)),
        ("!pip install -U pip setuptools", ("pip", "setuptools")),
        ("!pip install -q", ()),
        ("!pip install", ()),
    ],
)
def test_requirements(line: str, requirements: tuple[str, ...]) -> None:
    assert asks(line) == requirements


@pytest.mark.parametrize(
    "line",
    [
        "!pip list",
        "!pip uninstall -y numpy",
        "!echo pip install numpy",
        "# !pip install numpy",
        '"""\n!pip install numpy\n"""',
        "x = 'pip install numpy'",
        "%%bash\npip install numpy",
        "!pipenv install numpy",
        "pip = install",
    ],
)
def test_lines_that_install_nothing(line: str) -> None:
    assert asks(line) == ""


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("!pip install numpy==$VERSION", "uses a variable"),
        ("!pip install {package}", "uses a variable"),
        ("!pip install `cat x`", "uses a command's output"),
        ("!pip install numpy | tail -1", "runs more than one command"),
        ("!pip install numpy && echo done", "runs more than one command"),
        ("!pip install numpy; echo", "runs more than one command"),
        ("!pip install numpy&&echo", "runs more than one command"),
        ("!cd x && pip install -e .", "runs pip behind another command"),
        ("!pip install git+https://example.org/x", "installs from a URL"),
        ("!pip install https://example.org/x.whl", "installs from a URL"),
        ("!pip install 'x @ https://example.org/x.whl'", "installs from a URL"),
        ("!pip install -e .", "installs from a folder"),
        ("!pip install --editable=.", "installs from a folder"),
        ("!pip install .", "installs from a local path"),
        ("!pip install ../x", "installs from a local path"),
        ("!pip install x.whl", "installs from a local path"),
        ("!pip install --index-url https://example.org numpy", "sets where packages come from"),
        ("!pip install --extra-index-url=https://example.org numpy", "sets where packages come from"),
        ("!pip install -i https://example.org numpy", "sets where packages come from"),
        ("!pip install -f wheels numpy", "sets where packages come from"),
        ("!pip install --pre numpy", "has the option --pre"),
        ("!pip install --no-deps numpy", "has the option --no-deps"),
        ("!pip install -t folder numpy", "has the option -t"),
        ("!pip install -c constraints.txt numpy", "has the option -c"),
        ("!pip install numpy > log.txt", "redirects its output"),
        ("!pip install numpy >log.txt", "redirects its output"),
        ("!pip install 'numpy", "has an unclosed quote"),
        ("!pip install numpy, pandas", "no requirement"),
        ("!pip install -r", "names no file"),
    ],
)
def test_what_cannot_be_read_is_not_guessed(line: str, problem: str) -> None:
    answer = asks(line)
    assert isinstance(answer, str)
    assert problem in answer


@pytest.mark.parametrize("option", ["-r req.txt", "-rreq.txt", "--requirement req.txt", "--requirement=req.txt"])
def test_requirement_files(option: str) -> None:
    [line] = find_pip_lines(notebook(f"x = 1\n!pip install {option} numpy"))
    assert (line.cell, line.line, line.tool, line.files) == (0, 2, "!pip install", ("req.txt",))
    assert line.requirements == ("numpy",)


def test_neutral_lines_keep_indent_lines_and_text() -> None:
    guarded = "if IN_COLAB:\n    !pip install -q \\\n      numpy \\\n      pandas\n"
    source = guarded + "x = 1\n!pip uninstall -y y\nout = !pip install z"
    nb = notebook("a = 1", source, code("!pip install never", "skip-execution"))
    new = neutralise(nb)
    assert new.cells[0] == nb.cells[0]
    assert new.cells[2] == nb.cells[2]
    assert new.cells[1].source.split("\n") == [
        "if IN_COLAB:",
        "    pass  # nbseal: installed in the image: !pip install -q \\",
        "    # numpy \\",
        "    # pandas",
        "x = 1",
        "pass  # nbseal: installed in the image: !pip uninstall -y y",
        "out = []  # nbseal: installed in the image: out = !pip install z",
    ]
    ast.parse(new.cells[1].source)
    assert neutralise(new) == new


pip_text = st.text(st.sampled_from(list("abz019.-_=<>!~[],;'\"#$ {}|&\\\n/@:")), max_size=50) | st.text(max_size=30)


@settings(max_examples=500, deadline=None)
@given(pip_text)
def test_no_requirement_is_invented(text: str) -> None:
    source = f"!pip install {text}"
    for line in find_pip_lines(notebook(source)):
        if line.problem:
            assert not line.requirements
            continue
        spelt = re.sub(r"[-_.]+", "-", re.sub(r"[\"'\\]|\s", "", source)).lower()
        for requirement in line.requirements:
            name = re.match(r"[a-z0-9-]+", requirement)
            assert name is not None
            assert name.group() in spelt
    assert neutralise(notebook(source)).cells[0].source.count("\n") == source.count("\n")


def test_long_hostile_lines_are_read_quickly(tmp_path: Path) -> None:
    for text in (
        "!" + ";" * 200_000,
        "!pip " + "--a " * 50_000,
        "!pip install " + "a/" * 100_000,
        "!x" + " " * 300_000,
    ):
        find_pip_lines(notebook(text))
