"""What is a command of IPython and what is Python."""

import ast
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.notebooks.cells import commands, mask


@pytest.mark.parametrize(
    ("source", "masked"),
    [
        ("x = 1", "x = 1"),
        ("%matplotlib inline\nx = 1", "pass\nx = 1"),
        ("if x:\n    !ls\n    y = 1", "if x:\n    pass\n    y = 1"),
        ("!ls \\\n  -l\nx = 1", "pass\n\nx = 1"),
        ("files = !ls *.py", "pass"),
        ("a, b = %sql select 1", "pass"),
        ("np.array?", "pass"),
        ("y = np.array??", "pass"),
        ("*a, b = !ls", "pass"),
        ("?np.array", "pass"),
        ("%time x = f(1)", "pass"),
        ("pip install numpy", "pass"),
        ("%%time\nx = 1", "pass\nx = 1"),
        ("\n%%capture out\n%%time\nx = 1", "\npass\npass\nx = 1"),
        # None of these lines is a command:
        ('print("x=%d" % 3)', 'print("x=%d" % 3)'),
        ("print('a=!b')", "print('a=!b')"),
        ("x = (5\n% 3)", "x = (5\n% 3)"),
        ("x = 5 \\\n% 3", "x = 5 \\\n% 3"),
        ('"""\n%pip install a\n"""', '"""\n%pip install a\n"""'),
        ("'''\n!ls'''", "'''\n!ls'''"),
        ('x = "\\"(" # (\n', 'x = "\\"(" # (\n'),
        ("x = 'a\\\n%b'", "x = 'a\\\n%b'"),
        ('x = """a\\"""\n!b"""', 'x = """a\\"""\n!b"""'),
        ("# what?", "# what?"),
        ("x == 1", "x == 1"),
    ],
)
def test_masking(source: str, masked: str) -> None:
    assert mask(source) == masked
    ast.parse(masked)


@pytest.mark.parametrize("magic", ["%%bash", "%%html", "%%sh -e", "%%writefile x.py", "%%!", "%% time", "%%"])
def test_other_cell_magics_own_the_cell(magic: str) -> None:
    assert mask(f"{magic}\nx = 1") is None
    assert commands(f"{magic}\n!pip install x") is None


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(list("%!?\\\n\"'()[]# =ax"))) | st.text())
def test_masking_keeps_the_lines_and_never_fails(source: str) -> None:
    masked = mask(source)
    if masked is not None:
        assert masked.count("\n") == source.count("\n")


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(list("%!?\\\n\"'()# =a5,"))))
def test_what_is_python_is_left_as_it_is(source: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escape sequences
            ast.parse(source)
    except (SyntaxError, ValueError):
        return
    assert mask(source) == source
