"""executed.ipynb: whole at every moment."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from engine.harness.document import Document


def make(tmp_path: Path, *cells: nbformat.NotebookNode) -> Document:
    source = tmp_path / "notebook.ipynb"
    source.write_text(nbformat.writes(new_notebook(cells=list(cells))), encoding="utf-8")
    return Document(source, tmp_path / "executed.ipynb")


def read(tmp_path: Path) -> nbformat.NotebookNode:
    return nbformat.read(tmp_path / "executed.ipynb", as_version=4)


def test_the_first_save_is_a_valid_notebook_without_outputs(tmp_path: Path) -> None:
    old = new_code_cell("1", outputs=[new_output("stream", text="old")], execution_count=7)
    make(tmp_path, new_markdown_cell("# Title"), old).save()
    saved = read(tmp_path)
    nbformat.validate(saved)
    assert (saved.cells[1].outputs, saved.cells[1].execution_count) == ([], None)


def test_a_notebook_without_cells_is_saved(tmp_path: Path) -> None:
    make(tmp_path).save(durable=True)
    nbformat.validate(read(tmp_path))


def test_only_changed_cells_are_encoded_again(tmp_path: Path) -> None:
    document = make(tmp_path, new_code_cell("1"), new_code_cell("2"))
    document.save()
    for cell in document.notebook.cells:
        cell.outputs.append(new_output("stream", text="new"))
    document.changed(1)
    document.save()
    assert [len(cell.outputs) for cell in read(tmp_path).cells] == [0, 1]


def test_a_cell_in_the_middle_of_its_output_is_saved_as_text(tmp_path: Path) -> None:
    document = make(tmp_path, new_code_cell("1"))
    stream = new_output("stream", text="")
    stream.text = ["a", "b\n"]
    document.notebook.cells[0].outputs.append(stream)
    document.save()
    nbformat.validate(read(tmp_path))
    assert read(tmp_path).cells[0].outputs[0].text == "ab\n"


def test_text_that_is_no_unicode_is_kept(tmp_path: Path) -> None:
    document = make(tmp_path, new_code_cell("1"))
    document.notebook.cells[0].outputs.append(new_output("stream", text="\udc80 \u00e9"))
    document.save()
    data = json.loads((tmp_path / "executed.ipynb").read_bytes())
    assert data["cells"][0]["outputs"][0]["text"] == "\udc80 \u00e9"


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    make(tmp_path, new_code_cell("1")).save()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["executed.ipynb", "notebook.ipynb"]
