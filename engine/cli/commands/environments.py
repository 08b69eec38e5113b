"""Commands about what notebooks are executed in."""

from __future__ import annotations

from engine.cli.commands.app import app
from engine.cli.commands.options import (
    AsOfOption,
    BaseOption,
    FilesOption,
    Json,
    LockedOption,
    NotebookPath,
    RequirementOption,
    ResolverOption,
    UpgradeOption,
)


@app.command()
def lock(
    notebook: NotebookPath,
    requirement: RequirementOption = None,
    requirements: FilesOption = None,
    base: BaseOption = None,
    resolver: ResolverOption = "uv",
    upgrade: UpgradeOption = False,
    as_of: AsOfOption = None,
    as_json: Json = False,
) -> int:
    """Resolve a notebook's requirements into NAME.requirements.lock beside it."""
    from engine.cli import building, running

    wanted = running.environment(requirement, requirements, resolver, upgrade, False, as_of, base)
    return building.lock(notebook, wanted, as_json=as_json)


@app.command()
def build(
    notebook: NotebookPath,
    requirement: RequirementOption = None,
    requirements: FilesOption = None,
    base: BaseOption = None,
    resolver: ResolverOption = "uv",
    upgrade: UpgradeOption = False,
    locked: LockedOption = False,
    as_of: AsOfOption = None,
    as_json: Json = False,
) -> int:
    """Build a notebook's image and print its id."""
    from engine.cli import building, running

    wanted = running.environment(requirement, requirements, resolver, upgrade, locked, as_of, base)
    return building.build(notebook, wanted, as_json=as_json)
