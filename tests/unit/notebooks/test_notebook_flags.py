"""Flags: where they are found, how the command line sets them, how they are written back."""

import ast
import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from notebook_builders import code, notebook

from engine.errors import BadInput
from engine.model import FlagValue, Notebook
from engine.notebooks import bind, find_flags, substitute
from engine.notebooks.forms import parse_field
from engine.notebooks.literals import NotALiteral, parse_literal, render


def found(*cells: Any) -> list[tuple[str, str, str, str]]:
    return [(flag.name, flag.type, flag.default, flag.origin) for flag in find_flags(notebook(*cells))]


def run_with(nb: Notebook, *assignments: str) -> Notebook:
    flags = find_flags(nb)
    return substitute(nb, flags, bind(flags, assignments))


def one(source: str, *assignments: str) -> str:
    return run_with(notebook(source), *assignments).cells[0].source


@pytest.mark.parametrize(
    ("source", "flags"),
    [
        ("x = 1", [("x", "int", "1")]),
        ("x = -1.5", [("x", "float", "-1.5")]),
        ("x = 1e-4", [("x", "float", "0.0001")]),
        ("x = True", [("x", "bool", "True")]),
        ("x = 'a'", [("x", "str", "'a'")]),
        ('x = ("a"\n     "b")', [("x", "str", "'ab'")]),
        ("x = None", [("x", "any", "None")]),
        ("x = [1, {'a': (2,)}]", [("x", "list", "[1, {'a': (2,)}]")]),
        ("x = {}", [("x", "dict", "{}")]),
        ("x = 1, 2", [("x", "tuple", "(1, 2)")]),
        ("x = float('nan')", [("x", "float", "float('nan')")]),
        ("x = -float('inf')", [("x", "float", "float('-inf')")]),
        ("x = 1e999", [("x", "float", "float('inf')")]),
        ("x = 9223372036854775808", [("x", "int", "9223372036854775808")]),
        ("x: float = 1", [("x", "float", "1")]),
        ("x: int = None", [("x", "int", "None")]),
        ("x: int = 'no'", [("x", "str", "'no'")]),
        ("x: int = True", [("x", "bool", "True")]),
        ("x: Optional[int] = None", [("x", "any", "None")]),
        ("x = y = 1", [("x", "int", "1"), ("y", "int", "1")]),
        ("x = 1; y = 2", [("x", "int", "1"), ("y", "int", "2")]),
        ("%matplotlib inline\nx = 1\n!ls\nfoo?", [("x", "int", "1")]),
        ("%%time\nx = 1", [("x", "int", "1")]),
        ("%%bash\nx=1", []),
        ("\n  x = 1\n  if a:\n    y = 2", [("x", "int", "1")]),
        ("_private = 1", []),
        ("x = 1j", []),
        ("x = b'a'", []),
        ("x = {1, 2}", []),
        ("x = {[]: 1}", []),
        ("x = {**a}", []),
        ("x = f'a'", []),
        ("x = not True", []),
        ("x = -'a'", []),
        ("x = float('1')", []),
        ("x = ...", []),
        ("x += 1", []),
        ("x: int", []),
        ("a.b = 1", []),
        ("a, b = 1, 2", []),
        ("if True:\n    x = 1", []),
        ("def f():\n    x = 1", []),
        ("x = 1\nprint 'Python 2'", []),
        ("x = " + "[" * 5000 + "]" * 5000, []),
        ("x = " + "-" * 100_000 + "1", []),
        ("x = 1\0", []),
    ],
)
def test_plain_assignments(source: str, flags: list[tuple[str, str, str]]) -> None:
    assert found(source) == [(*flag, "assignment") for flag in flags]


def test_the_last_assignment_gives_default_and_type() -> None:
    assert found("x = 1", "x = 2.5") == [("x", "float", "2.5", "assignment")]


def test_parameters_and_forms_take_precedence() -> None:
    nb = notebook(code("lr = 0.1\n_hidden = 1", "parameters"), "lr = 0.2\nn = 3 # @param\nn = 4", "n = 5\nother = 6")
    flags = find_flags(nb)
    assert [(flag.name, flag.default, flag.origin, len(flag.places)) for flag in flags] == [
        ("_hidden", "1", "parameters", 1),
        ("lr", "0.1", "parameters", 1),
        ("n", "3", "form", 1),
        ("other", "6", "assignment", 1),
    ]
    new = run_with(nb, "lr=9", "n=9")
    assert [cell.source for cell in new.cells] == [
        "lr = 9.0\n_hidden = 1",
        "lr = 0.2\nn = 9 # @param\nn = 4",
        "n = 5\nother = 6",
    ]


def test_what_papermill_injected_is_a_parameter_too() -> None:
    nb = notebook(code("x = 1", "parameters"), code("# Parameters\nx = 5", "injected-parameters"))
    assert find_flags(nb)[0].default == "5"
    assert [cell.source for cell in run_with(nb, "x=7").cells] == ["x = 7", "# Parameters\nx = 7"]


def test_cells_that_are_never_run_have_no_flags() -> None:
    assert found(code("x = 1", "skip-execution")) == []


@pytest.mark.parametrize(
    ("line", "kind", "default"),
    [
        # Colab's own demonstration of its forms:
        ('text = "value"  # @param {type:"string"}', "str", "'value'"),
        ('dropdown = "1st option"  # @param ["1st option", "2nd option"]', "str", "'1st option'"),
        ('both = "value"  # @param ["1st option", "2nd"] {allow-input: true}', "str", "'value'"),
        ('text = ""  # @param {type:"string", placeholder:"enter a value"}', "str", "''"),
        ('raw = None  # @param {type:"raw"}', "any", "None"),
        ('date = "2018-03-22"  # @param {type:"date"}', "str", "'2018-03-22'"),
        ('number = 10.0  # @param {type:"number"}', "float", "10.0"),
        ('slider = 0  # @param {type:"slider", min:-1, max:1, step:0.1}', "float", "0"),
        ('integer = 10  # @param {type:"integer"}', "int", "10"),
        ('slider = 1  # @param {type:"slider", min:0, max:100, step:1}', "int", "1"),
        ('check = True  # @param {type:"boolean"}', "bool", "True"),
        ('choice = True  # @param ["False", "True"] {type:"raw"}', "bool", "True"),
        # Variants met in real notebooks:
        ("x = 1 #@param{type: 'number'}", "float", "1"),
        ("x = 1 #@param[1,2]", "int", "1"),
        ('x = 1 # @param [1,2,3,4]{type:"raw"}', "int", "1"),
        ('x = "1" # @param {type :"string"}', "str", "'1'"),
        ("x = 'a' # @param { type : 'string' }", "str", "'a'"),
        ("x = False # @param {'type': 'boolean'}", "bool", "False"),
        ('x = "" # @param {"type":"string", "placeholder": "x"}', "str", "''"),
        ('x = 2 # @param {type:"number"} ["a","b"]', "int", "2"),
        ('x = "a" # @param {type:"string"} free text', "str", "'a'"),
        ('x = 1 # @param {type:"number"} # more', "float", "1"),
        ('x = 1 # @param {type:"number"}, format: ...', "float", "1"),
        ("x = True # @param {allow-input: false}", "bool", "True"),
        ('x = "a" # @param ["a"] {isTemplate:true}', "str", "'a'"),
        ("x = 1 # @param { isTemplate: true", "int", "1"),
        ('x = 1 # @param {type: "list", itemType: "string"}', "int", "1"),
        ("x = 1 # @param", "int", "1"),
        ("x: float = 1e-4 # @param", "float", "0.0001"),
        ('x = -1 # @param {type:"integer"}', "int", "-1"),
        ('x = "5" # @param {type:"integer"}', "str", "'5'"),
        ('x = 0.5 # @param {type:"slider"}', "float", "0.5"),
        ('x = 1 # @param {type:"slider", min:0.5, step:1}', "float", "1"),
        ("x = 1;  # @param {type:'number'}", "float", "1"),
        ('if y:\n    x = 1  # @param {type:"integer"}', "int", "1"),
        ('def f():\n  x = 1  # @param {type:"integer"}', "int", "1"),
    ],
)
def test_colab_forms(line: str, kind: str, default: str) -> None:
    [(_, *rest)] = found(line)
    assert rest == [kind, default, "form"]


@pytest.mark.parametrize(
    "source",
    [
        "# x = 1 # @param",
        "# # @param {type: 'string'}",
        'x = y  # @param [1, "raw_input"] {type:"raw"}',
        "x = a * b # @param",
        "x = json.loads(a)[0] # @param",
        "x = f'{a}' # @param",
        "print('x = 1 # @param')",
    ],
)
def test_lines_that_are_no_flags(source: str) -> None:
    assert found(source) == []


def test_other_comments_are_no_fields() -> None:
    assert [
        item[3] for item in found("x = 1 # @parameter\ny = [\n2]  # @param\nz = 1 # # @param\nw = 1 # a @param")
    ] == ["assignment"] * 4


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(list("{}[]\"'\\:,- a1#@type")), max_size=60) | st.text(max_size=40))
def test_any_text_behind_param_is_read(tail: str) -> None:
    field = parse_field(f"  # @param {tail}")
    assert field is not None
    assert field.declared in (None, "int", "float", "bool", "str")
    for key, value in field.options.items():
        assert key.replace("\\", "") in tail.replace("\\", "")
        assert value.replace("\\", "") in tail.replace("\\", "")


# --- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default", "text", "literal"),
    [
        ("1", "5", "5"),
        ("1", "-5", "-5"),
        ("1", "123456789012345678901234567890", "123456789012345678901234567890"),
        ("1.5", "3", "3.0"),
        ("1.5", "1e-3", "0.001"),
        ("1.5", "nan", "float('nan')"),
        ("1.5", "inf", "float('inf')"),
        ("1.5", "-inf", "float('-inf')"),
        ("True", "no", "False"),
        ("True", "0", "False"),
        ("False", "on", "True"),
        ("False", "TRUE", "True"),
        ("'a'", "", "''"),
        ("'a'", "b=c", "'b=c'"),
        ("'a'", "5", "'5'"),
        ("'a'", " it's ", '" it\'s "'),
        ("[1]", "[2, 'a']", "[2, 'a']"),
        ("(1,)", "2,", "(2,)"),
        ("{}", "{'a': nan}", None),
        ("{}", "{'a': float('nan')}", "{'a': float('nan')}"),
        ("None", "5", "5"),
        ("None", "some text", "'some text'"),
        ("None", "__import__('os')", "\"__import__('os')\""),
        ("1", "1.5", None),
        ("1", "", None),
        ("1", "9" * 5000, None),
        ("1.5", "fast", None),
        ("True", "maybe", None),
        ("[1]", "(1,)", None),
        ("[1]", "[x]", None),
        ("{}", "[" * 10_000, None),
        ("(1,)", "1", None),
    ],
)
def test_values_are_parsed_to_the_type(default: str, text: str, literal: str | None) -> None:
    flags = find_flags(notebook(f"x = {default}"))
    if literal is None:
        with pytest.raises(BadInput, match=r"The flag 'x' takes .*\(|The flag 'x' takes a (list|dict|tuple)") as caught:
            bind(flags, [f"x={text}"])
        assert f"x ({flags[0].type}, default" in caught.value.hint
    else:
        [value] = bind(flags, [f"x={text}"])
        assert (value.type, value.literal) == (flags[0].type, literal)


def test_all_flags_are_bound_sorted_by_name() -> None:
    flags = find_flags(notebook("b = 2\na = 1\nc = 'x'"))
    assert bind(flags, ["c=y"]) == (
        FlagValue("a", "int", "1"),
        FlagValue("b", "int", "2"),
        FlagValue("c", "str", "'y'"),
    )


@pytest.mark.parametrize(
    ("assignments", "says"),
    [
        (["rate"], "not of the form flag=value"),
        (["ratee=1"], "did you mean 'rate'"),
        (["zzz=1"], "has no flag 'zzz'"),
        (["rate=1", "rate=2"], "given twice"),
    ],
)
def test_wrong_assignments(assignments: list[str], says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        bind(find_flags(notebook("rate = 0.5")), assignments)
    assert caught.value.hint


def test_a_notebook_without_flags_says_so() -> None:
    with pytest.raises(BadInput) as caught:
        bind((), ["x=1"])
    assert "no flags" in caught.value.hint


@pytest.mark.parametrize("same", ["x=0", "x=0.0", "x=0e5"])
def test_saying_the_default_is_saying_nothing(same: str) -> None:
    source = 'x = 0  # @param {type:"number"}'
    flags = find_flags(notebook(source))
    assert bind(flags, [same]) == bind(flags, [])
    assert one(source, same) == source


# --- writing back -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "assignment", "result"),
    [
        ("x = 1  # the comment", "x=2", "x = 2  # the comment"),
        ("x=(1)", "x=2", "x=(2)"),
        ("a = 'é'; x = 'ü' # ö", "x=日本", "a = 'é'; x = '日本' # ö"),
        ("x = [\n  1,\n  2,\n]\ny = 3", "x=[4]", "x = [4]\ny = 3"),
        ('x = ("a"\n     "b")  # kept', "x=c", "x = ('c')  # kept"),
        ('x = """a\nb"""; y = 1', "x=c", "x = 'c'; y = 1"),
        ("x = 1, 2", "x=3,4", "x = (3, 4)"),
        ("%time y = 2\nx = 0x10\n!ls", "x=17", "%time y = 2\nx = 17\n!ls"),
        ("x = 0x10", "x=16", "x = 0x10"),
        ("x = 1_000.0", "x=1000", "x = 1_000.0"),
        ("x = 1.5", "x=nan", "x = float('nan')"),
        ("x = float('nan')", "x=nan", "x = float('nan')"),
        ("x = -1", "x=-2", "x = -2"),
        ("\n  x = 'é'; y = 'é'  # c\n  !ls\n  z = 1", "y=b", "\n  x = 'é'; y = 'b'  # c\n  !ls\n  z = 1"),
        ("x: int = 1", "x=2", "x: int = 2"),
        ('if a:\n    x = "b"  # @param ["b", "c"]', "x=c", 'if a:\n    x = \'c\'  # @param ["b", "c"]'),
        ("x = 'a'", "x=b\n'\"\\\x1b\u202e", "x = 'b\\n\\'\"\\\\\\x1b\\u202e'"),
        ("x = [\n1,\n]  # @param\nx = [2]", "x=[3]", "x = [3]  # @param\nx = [3]"),
    ],
)
def test_only_the_literal_changes(source: str, assignment: str, result: str) -> None:
    assert one(source, assignment) == result


def test_every_place_of_a_flag_is_written() -> None:
    nb = notebook("x = 1", "y = 0", "x = 2")
    assert [cell.source for cell in run_with(nb, "x=1").cells] == ["x = 1", "y = 0", "x = 1"]
    assert [cell.source for cell in run_with(nb, "x=2").cells] == ["x = 1", "y = 0", "x = 2"]
    assert [cell.source for cell in run_with(nb, "x=3").cells] == ["x = 3", "y = 0", "x = 3"]


def test_names_that_share_a_value_cannot_be_set_apart() -> None:
    assert one("x = y = 1", "x=2", "y=2") == "x = y = 2"
    for assignments in (["x=2"], ["x=2", "y=3"]):
        with pytest.raises(BadInput, match="'x' and 'y' share one value in cell 1 line 1"):
            one("x = y = 1", *assignments)


def test_the_notebook_itself_is_not_changed() -> None:
    nb = notebook("x = 1")
    run_with(nb, "x=2")
    assert nb.cells[0].source == "x = 1"


scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["#", "'\"", "\ud800"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def equal(one: Any, other: Any) -> bool:
    """Equality that tells 1 from True and 1.0, and takes nan for nan."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return equal(list(one.items()), list(other.items()))
    if isinstance(one, float):
        return (
            math.isnan(other) if math.isnan(one) else one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return bool(one == other)


@settings(max_examples=400, deadline=None)
@given(values)
def test_a_rendered_value_reads_back_equal(value: Any) -> None:
    assert equal(parse_literal(render(value)), value)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_rendered_text_is_what_python_reads(text: str) -> None:
    assert ast.literal_eval(render(text)) == text


@settings(max_examples=300, deadline=None)
@given(
    values,
    values,
    st.sampled_from(["x = {}", "x = ({})", "é = 'ü'; x = {}  # ö", "a = 1; x = {}; b = 2", "x = (\n{}\n)"]),
)
def test_any_value_goes_in_and_comes_out_equal(old: Any, new: Any, form: str) -> None:
    source = form.replace("{}", render(old))
    flags = find_flags(notebook(source))
    flag = next(flag for flag in flags if flag.name == "x")
    done = substitute(notebook(source), flags, [FlagValue("x", flag.type, render(new))])
    after = next(flag for flag in find_flags(done) if flag.name == "x")
    read_back = parse_literal(after.default)
    if flag.type == "float" and type(new) in (int, bool):
        assume(abs(new) < 2**53)
        assert float(read_back) == float(new)
    else:
        assert equal(read_back, new)
    before, behind = form.split("{}")
    assert done.cells[0].source.startswith(before)
    assert done.cells[0].source.endswith(behind)


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(st.sampled_from(list("[](){}'\"1,:-+.ejJ_nN None float"))))
def test_any_text_is_a_literal_or_not(text: str) -> None:
    try:
        value = parse_literal(text)
    except NotALiteral:
        return
    assert equal(parse_literal(render(value)), value)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.sampled_from(list("xy=1'#@param \n()[],%!")), max_size=40), max_size=3))
def test_any_notebook_has_flags_that_can_be_set(sources: list[str]) -> None:
    nb = notebook(*sources)
    flags = find_flags(nb)
    assert substitute(nb, flags, bind(flags, [])) == nb
