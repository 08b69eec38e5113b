"""Whatever a notebook leaves as its executed self, what is read is well-formed or refused in a sentence."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from executed_builders import code, display, error, executed, reread, stream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import BadInput
from engine.results import Evidence, compare, harvest_pictures, harvest_scalars, read_executed, text_log
from engine.results import executed as executed_module


def test_well_formed_stays(tmp_path: Path) -> None:
    document = executed(
        code(stream("a\n"), display({"text/plain": "x", "application/json": {"a": [1, None]}}), error("x", "y")),
        {"cell_type": "markdown", "metadata": {"tags": ["x"]}, "source": "# é", "id": "abc"},
    )
    del document["cells"][0]["outputs"][1]["execution_count"]
    assert reread(tmp_path, document) == document


def test_lists_of_lines_are_joined(tmp_path: Path) -> None:
    cell = code({"output_type": "stream", "name": "stdout", "text": ["a\n", "b"]}, display({"text/html": ["<b>", "x"]}))
    outputs = reread(tmp_path, executed({**cell, "source": ["x\n", "y"]}))["cells"][0]["outputs"]
    assert outputs[0]["text"] == "a\nb"
    assert outputs[1]["data"] == {"text/html": "<b>x"}


def test_missing_is_empty(tmp_path: Path) -> None:
    assert read_executed(tmp_path / "missing.ipynb")["cells"] == []


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text(json.dumps(executed()))
    link, fifo = tmp_path / "link", tmp_path / "fifo"
    link.symlink_to(target)
    os.mkfifo(fifo)
    for path in (link, fifo, tmp_path, Path("/dev/zero")):
        with pytest.raises(BadInput, match="no regular file"):
            read_executed(path)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"null", b"{}", b'{"cells": 3}', b"[" * 200_000,
        b'{"cells": [' + b"1" * 5000 + b"]}",
        b'{"cells": [{"cell_type": "code", "metadata": ' + b'{"a": ' * 300 + b"1" + b"}" * 300 + b"}]}",
    ],
)  # fmt: skip
def test_refuses_what_is_no_notebook(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.ipynb"
    path.write_bytes(data)
    with pytest.raises(BadInput, match="cannot be used") as caught:
        read_executed(path)
    assert caught.value.hint


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": [{}] * 100}))
    monkeypatch.setattr(executed_module, "MAX_CELLS", 99)
    with pytest.raises(BadInput, match="cells"):
        read_executed(path)
    monkeypatch.setattr(executed_module, "MAX_BYTES", 99)
    with pytest.raises(BadInput, match="larger"):
        read_executed(path)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # sparse: it takes no room and would take all memory
    began = time.monotonic()
    with pytest.raises(BadInput, match="larger"):
        read_executed(path)
    assert time.monotonic() - began < 1


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["output_type", "name", "text", "data", "metadata", "ename", "evalue", "traceback", "execution_count"]
OUTPUT = st.dictionaries(
    st.sampled_from(KEYS),
    JSON
    | st.sampled_from(["stream", "error", "display_data", "execute_result", "stdout"])
    | st.dictionaries(st.sampled_from(["text/plain", "image/png", "text/html", "image/svg+xml", "x+json"]), JSON),
)
CELL = st.fixed_dictionaries(
    {"cell_type": st.just("code") | JSON, "outputs": st.lists(OUTPUT | JSON, max_size=4)},
    optional={"source": JSON, "metadata": JSON, "id": JSON, "execution_count": JSON, "attachments": JSON},
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(CELL | JSON, max_size=4))
def test_anything_can_be_harvested(tmp_path: Path, cells: list[Any]) -> None:
    document = reread(tmp_path, {"cells": cells})
    json.dumps(document, ensure_ascii=False).encode()
    harvest_scalars(document)
    harvest_pictures(document)
    text_log(document).encode()
    evidence = Evidence("completed", document)
    assert compare(evidence, evidence).verdict == "identical"
    assert reread(tmp_path, document) == document or "NaN" in json.dumps(document)
