"""Documents that say what the code says: held current, and without dead links."""

import re
from pathlib import Path

import pytest

from engine import errors
from scripts.cli_reference import reference

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_the_command_line_reference_is_current() -> None:
    assert (ROOT / "docs/reference/cli.md").read_text() == reference(), "run `make docs`"


def test_every_exit_code_is_documented() -> None:
    table = (ROOT / "docs/reference/exit-codes.md").read_text()
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.NbsealError)]
    assert all(f"| {kind.exit_code} |" in table for kind in kinds)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
