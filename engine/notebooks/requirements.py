"""Everything that a notebook, its project and the command line declare to be installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import BadInput
from engine.model import Notebook
from engine.notebooks.pep508 import NotARequirement, normalised
from engine.notebooks.piplines import PipLine, find_pip_lines
from engine.notebooks.reqfiles import read_requirement_file
from engine.notebooks.script import find_script_block
from engine.notebooks.wording import cell_line, shown
from engine.software import Requirements

_FILE_NAMES = ("requirements.txt", "requirements.in")


def find_requirements(
    notebook: Notebook, folder: Path, project: Path, extra: Sequence[str], files: Sequence[Path]
) -> Requirements:
    """Collect the requirements, normalised, sorted, each once.

    From the notebook: its script block (PEP 723) and its pip lines. From ``files`` (``-r``), else, when
    there is no script block, from the first requirements.txt or requirements.in in the notebook's
    ``folder`` or in the ``project``. From ``extra`` (``--requirement``). At most one of the files may be
    hash-locked; it becomes ``lock_text``, and ``lines`` then holds its pins and whatever else was declared.

    Raises BadInput for what cannot be read, naming the cell and line. A pip line that cannot be read is
    passed over, and ``origins`` says so, when ``extra`` or ``files`` declare requirements instead.
    """
    collected = _Collected()
    block = find_script_block(notebook)
    if block is not None:
        collected.add(f"{cell_line(block.cell, block.line)}: # /// script", block.requirements)
    for line in find_pip_lines(notebook):
        _add_pip_line(collected, line, folder, project, declared=bool(extra or files))
    for path in files:
        collected.add_file(f"-r {shown(path.name)}", path, None)
    if not files and block is None:
        found = _discovered(folder, project)
        if found is not None:
            collected.add_file(_relative(found, project), found, project)
    for text in extra:
        try:
            collected.add(f"--requirement {shown(text)}", [normalised(text)])
        except NotARequirement as error:
            raise BadInput(f"--requirement cannot be used: {error}.", "Write it as 'numpy>=2'.") from None
    return Requirements(
        lines=tuple(sorted(collected.lines)),
        origins=tuple(collected.origins),
        requires_python=block.requires_python if block is not None else "",
        lock_text=collected.lock_text,
    )


class _Collected:
    def __init__(self) -> None:
        self.lines: set[str] = set()
        self.origins: list[str] = []
        self.lock_text = ""
        self._locked_by = ""
        self._files: set[Path] = set()

    def add(self, origin: str, requirements: Sequence[str]) -> None:
        self.origins.append(origin)
        self.lines.update(requirements)

    def add_file(self, origin: str, path: Path, within: Path | None) -> None:
        content = read_requirement_file(path, within)
        if path.resolve() in self._files:
            return
        self._files.add(path.resolve())
        self.add(origin, content.requirements)
        if not content.lock_text:
            return
        if self.lock_text:
            raise BadInput(
                f"There are two hash-locked requirements files: {self._locked_by} and {origin}.",
                "Name the one to use with -r, or lock both together.",
            )
        self.lock_text, self._locked_by = content.lock_text, origin


def _add_pip_line(collected: _Collected, line: PipLine, folder: Path, project: Path, *, declared: bool) -> None:
    where = cell_line(line.cell, line.line)
    origin = f"{where}: {line.tool}"
    try:
        if line.problem:
            raise BadInput(f"The pip line in {where} {line.problem}.")
        for name in line.files:
            collected.add_file(f"{origin} -r {shown(name)}", folder / name, project)
    except BadInput as error:
        if not declared:
            hint = "Declare what it needs with --requirement or -r FILE; the line is then passed over."
            raise BadInput(error.message, hint) from None
        collected.origins.append(f"{origin} was passed over: {error.message}")
        return
    if line.requirements or not line.files:
        collected.add(origin, line.requirements)


def _discovered(folder: Path, project: Path) -> Path | None:
    candidates = (place / name for place in (folder, project) for name in _FILE_NAMES)
    return next((path for path in candidates if path.is_symlink() or path.exists()), None)


def _relative(path: Path, project: Path) -> str:
    return shown(str(path.relative_to(project)) if path.is_relative_to(project) else path.name, 200)
