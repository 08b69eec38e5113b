"""Reading notebook files: what is taken, what is refused and how it is said."""

import json
import os
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notebook_builders import document, entry, save

from engine.errors import BadInput
from engine.notebooks import notebook_digest, read, to_document
from engine.notebooks.reader import LARGEST


def test_reads_sources_kinds_tags_and_ids(tmp_path: Path) -> None:
    cells = [
        entry(["a = 1\r\n", "b = 2"], id="first", metadata={"tags": ["parameters"]}),
        entry("# Title", "markdown"),
        entry("x", "raw"),
    ]
    nb = read(save(tmp_path / "nb.ipynb", document(cells, title="T")))
    assert [(cell.id, cell.kind, cell.source, cell.tags) for cell in nb.cells] == [
        ("first", "code", "a = 1\nb = 2", ("parameters",)),
        ("cell-1", "markdown", "# Title", ()),
        ("cell-2", "raw", "x", ()),
    ]
    assert (nb.name, nb.language, nb.warnings, nb.metadata) == ("nb.ipynb", "python", (), {"title": "T"})
    assert nb.original == (tmp_path / "nb.ipynb").read_bytes()


def test_ids_are_deterministic_unique_and_valid(tmp_path: Path) -> None:
    given_ids = ["same", "same", "cell-1", "not valid!", None, "x" * 65, 7]
    cells = [entry(str(n), **({} if given is None else {"id": given})) for n, given in enumerate(given_ids)]
    path = save(tmp_path / "nb.ipynb", document(cells))
    ids = [cell.id for cell in read(path).cells]
    assert ids == ["same", "cell-1-2", "cell-1", "cell-3", "cell-4", "cell-5", "cell-6"]
    assert ids == [cell.id for cell in read(path).cells]


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"kernelspec": {"name": "conda-base-py", "display_name": "x", "language": "python"}},
        {"kernelspec": {"name": "ir", "display_name": "x", "language": "Python"}},
        {"kernelspec": {"name": "pymc_env", "display_name": "x"}, "language_info": {"name": "python"}},
        {"language_info": {"name": "ipython"}},
        {"kernelspec": "nonsense", "language_info": 5},
    ],
)
def test_kernel_is_chosen_by_language_and_forced(tmp_path: Path, metadata: dict[str, Any]) -> None:
    made = to_document(read(save(tmp_path / "nb.ipynb", document([entry("1")], **metadata))))
    assert made["metadata"]["kernelspec"]["name"] == "python3"
    nbformat.validate(made)


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"name": "python3", "display_name": "R", "language": "R"}},
        {"language_info": {"name": "R"}},
    ],
)
def test_other_languages_are_refused(tmp_path: Path, metadata: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="no R kernel"):
        read(save(tmp_path / "nb.ipynb", document([entry("1")], **metadata)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"print('hello')\n", "not JSON"),
        (b"[1, 2]", "not an object"),
        (b"{}", "no nbformat number"),
        (b'{"nbformat": true, "cells": []}', "no nbformat number"),
        (b'{"nbformat": 2, "worksheets": []}', "notebook format 2, older"),
        (b'{"nbformat": 5, "cells": []}', "notebook format 5, newer"),
        (b'{"nbformat": 4}', "no list of cells"),
        (b'{"nbformat": 4, "cells": {}}', "no list of cells"),
        (b'{"nbformat": 4, "cells": ["x"]}', "cell 1 is of no known type"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "heading"}]}', "cell 1 is of no known type"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": 3}]}', "cell 1 has no readable source"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["a", 3]}]}', "no readable source"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": "\\ud800"}]}', "not valid Unicode"),
        (b'{"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": 3}]}]}', "readable source"),
        (b'{"nbformat": 3, "worksheets": 4}', "worksheets"),
        (b'{"nbformat": 3, "worksheets": [{"cells": 4}]}', "worksheets"),
        (b'{"nbformat": 3, "worksheets": [{"cells": [4]}]}', "no known type"),
        (b"\xff\xfe\x00\x80", "not text in UTF-8"),
        (b"\x80\x04\x95garbage\x00", "not text in UTF-8"),
        (b"[" * 200_000, "too deep"),
        (b'{"a":' * 200_000, "too deep"),
        (b'{"nbformat": ' + b"9" * 5000 + b"}", "too long"),
    ],
)
def test_bad_files_get_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "nb.ipynb"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=says) as caught:
        read(path)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    cases = {
        "missing.ipynb": "There is no file",
        ".": "is a folder",
        "fifo": "not a regular file",
        "dangling": "a link to a file that does not exist",
        "loop": "leads back to itself",
        "a\0b": "not a possible path",
    }
    for name, says in cases.items():
        with pytest.raises(BadInput, match=says):
            read(tmp_path / name)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "nb.ipynb"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)  # sparse: it takes up no disk
    with pytest.raises(BadInput, match="larger than 200 MB"):
        read(path)


def test_stored_outputs_are_left_behind_quickly(tmp_path: Path) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": "0123456789" * 5_000_000}
    path = save(tmp_path / "nb.ipynb", document([entry("x = 1", outputs=[output])]))
    started = time.monotonic()
    made = to_document(read(path))
    assert made["cells"][0]["outputs"] == []
    assert time.monotonic() - started < 10  # well under 1 s on an idle machine


def test_a_link_to_a_notebook_is_read(tmp_path: Path) -> None:
    save(tmp_path / "real.ipynb", document([entry("1")]))
    (tmp_path / "link.ipynb").symlink_to("real.ipynb")
    assert read(tmp_path / "link.ipynb").name == "link.ipynb"


def test_nothing_to_run_is_fine(tmp_path: Path) -> None:
    for cells in ([], [entry("# only text", "markdown")]):
        nbformat.validate(to_document(read(save(tmp_path / "nb.ipynb", document(cells)))))


def test_format_3_is_upgraded_with_a_warning(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["A", " title"], "metadata": {}},
        {"cell_type": "code", "language": "python", "input": ["x = 1"], "outputs": [{"output_type": "nonsense"}]},
        {"cell_type": "markdown", "source": "text"},
    ]
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]}
    nb = read(save(tmp_path / "nb.ipynb", old))
    assert [(cell.id, cell.kind, cell.source) for cell in nb.cells] == [
        ("cell-0", "markdown", "## A title"),
        ("cell-1", "code", "x = 1"),
        ("cell-2", "markdown", "text"),
    ]
    assert len(nb.warnings) == 1
    assert "format 3" in nb.warnings[0]
    nbformat.validate(to_document(nb))


def test_format_3_in_another_language_is_refused(tmp_path: Path) -> None:
    cells = [{"cell_type": "code", "language": "R", "input": "x"}]
    with pytest.raises(BadInput, match="no R kernel"):
        read(save(tmp_path / "nb.ipynb", {"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}]}))


@pytest.mark.parametrize(
    ("source", "metadata", "warns"),
    [
        ("x = 1\nprint x", {}, "Cell 1 line 2 is Python 2 code"),
        ("try:\n    pass\nexcept ValueError, e:\n    pass", {}, "Cell 1 line 3 is Python 2 code"),
        ("if x: print 'a'", {}, "Cell 1 line 1 is Python 2 code"),
        ("print('a')", {"kernelspec": {"display_name": "Python 2"}}, "saved for Python 2"),
        ("print('a')", {"language_info": {"name": "python", "version": "2.7.1"}}, "saved for Python 2"),
        ("print('a')\n%time x = 1\n!ls", {}, ""),
        ("this is no Python", {}, ""),
        ("%%bash\nprint x", {}, ""),
        ('"""\nprint x\n"""', {}, ""),
    ],
)
def test_python_2_is_said(tmp_path: Path, source: str, metadata: dict[str, Any], warns: str) -> None:
    nb = read(save(tmp_path / "nb.ipynb", document([entry(source)], **metadata)))
    assert [warns in warning for warning in nb.warnings] == ([True] if warns else [])


def test_the_document_holds_no_trace_of_earlier_runs(tmp_path: Path) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": "secret"}
    traces = {"executionInfo": {"user": {"displayName": "secret"}}, "execution": {"a": 1}, "papermill": {"x": "secret"}}
    cell = entry("1", outputs=[output], execution_count=7, metadata={**traces, "tags": ["kept"]})
    made = to_document(read(save(tmp_path / "nb.ipynb", document([cell], widgets={"state": "secret"}, papermill={}))))
    assert "secret" not in json.dumps(made)
    assert made["cells"][0]["metadata"] == {"tags": ["kept"]}
    assert (made["cells"][0]["outputs"], made["cells"][0]["execution_count"]) == ([], None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
known_keys = st.sampled_from(
    ["tags", "name", "format", "jupyter", "collapsed", "scrolled", "title", "authors", "kernelspec", "language_info"]
)
metadata_values = st.dictionaries(known_keys | st.text(max_size=5), json_values, max_size=5) | json_values


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_in_it_the_document_is_valid_or_refused(tmp_path_factory: Any, data: st.DataObject) -> None:
    cells = data.draw(
        st.lists(
            st.fixed_dictionaries(
                {"cell_type": st.sampled_from(["code", "markdown", "raw"]), "source": st.text() | st.lists(st.text())},
                optional={"id": json_values, "metadata": metadata_values, "attachments": json_values},
            ),
            max_size=4,
        )
    )
    made = {"nbformat": 4, "metadata": data.draw(metadata_values), "cells": cells}
    path = tmp_path_factory.mktemp("nb") / "nb.ipynb"
    try:
        nb = read(save(path, made))
    except BadInput:
        return
    nbformat.validate(to_document(nb))
    json.dumps(to_document(nb), allow_nan=False)
    assert notebook_digest(nb).startswith("sha256:")
    again = read(save(path, to_document(nb)))
    assert again.cells == nb.cells
    assert notebook_digest(again) == notebook_digest(nb)


def test_the_digest_covers_type_source_and_tags_only(tmp_path: Path) -> None:
    def digest(*cells: dict[str, Any], **metadata: Any) -> str:
        return notebook_digest(read(save(tmp_path / "nb.ipynb", document(cells, **metadata))))

    base = digest(entry("a\nb"))
    assert base == digest(entry("a\r\nb", id="other", execution_count=3, metadata={"collapsed": True}), title="T")
    assert base != digest(entry("a\nb "))
    assert base != digest(entry("a\nb", "markdown"))
    assert base != digest(entry("a\nb", metadata={"tags": ["raises-exception"]}))
    assert base != digest(entry("a"), entry("b"))
    # Written down, because a change here gives every notebook another hash.
    assert base == "sha256:ca9890dba0bff5beac3b024847e6f295cf9d7ea4aff09be0e01e35a53bf7356c"
