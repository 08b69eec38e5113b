"""What is kept of a document's metadata: what nbformat's schema allows and what is no trace of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Results, times and people: Colab's executionInfo names whoever ran the cell last.
_CELL_TRACES = frozenset({"execution", "ExecuteTime", "executionInfo", "outputId", "papermill", "trusted"})
_NOTEBOOK_TRACES = frozenset(
    {"widgets", "papermill", "signature", "orig_nbformat", "orig_nbformat_minor", "kernelspec", "language_info"}
)


def cell_metadata(value: Any) -> dict[str, Any]:
    """A cell's metadata with every known key in the shape that nbformat 4.5 wants it."""
    if not isinstance(value, Mapping):
        return {}
    kept = {str(key): item for key, item in value.items() if key not in _CELL_TRACES and _fits(str(key), item)}
    if isinstance(value.get("tags"), list):
        tags = [tag for tag in value["tags"] if isinstance(tag, str) and tag and "," not in tag]
        kept["tags"] = list(dict.fromkeys(tags))
    return kept


def notebook_metadata(value: Any) -> dict[str, Any]:
    """A notebook's metadata without its kernel, which is always ours."""
    if not isinstance(value, Mapping):
        return {}
    return {
        str(key): item for key, item in value.items() if key not in _NOTEBOOK_TRACES and _fits_notebook(str(key), item)
    }


def attachments(value: Any) -> dict[str, Any]:
    """The pictures and the like of a markdown cell, those in the shape that nbformat 4.5 wants."""
    if not isinstance(value, Mapping):
        return {}
    return {str(name): bundle for name, bundle in value.items() if _is_bundle(bundle)}


def _fits(key: str, value: Any) -> bool:
    if key == "name":
        return isinstance(value, str) and bool(value) and "\n" not in value
    if key == "format":
        return isinstance(value, str)
    if key == "jupyter":
        return isinstance(value, Mapping)
    if key == "collapsed":
        return isinstance(value, bool)
    if key == "scrolled":
        return isinstance(value, bool) or value == "auto"
    return key != "tags"


def _fits_notebook(key: str, value: Any) -> bool:
    if key == "title":
        return isinstance(value, str)
    if key == "authors":
        return isinstance(value, list)
    return True


def _is_bundle(bundle: Any) -> bool:
    return isinstance(bundle, Mapping) and all(
        isinstance(data, str) or (isinstance(data, list) and all(isinstance(line, str) for line in data))
        for data in bundle.values()
    )
