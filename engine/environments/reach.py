"""Whether the package index answers, asked the way that a resolution asks."""

from __future__ import annotations

import os

from engine.environments.indexes import read_indexes
from engine.environments.question import Question
from engine.environments.uvtool import solve_with_uv
from engine.progress import Silent
from engine.settings import Home
from engine.software import Base

#: Stands for a base before there is one: what the shipped pins give.
_NOMINAL = Base("", "3.11.2", "2.36", (), (), (), 0, "")


def check_index(home: Home) -> str:
    """Resolve one small distribution; what was found, for people. EnvironmentFailed with the reason when it was not."""
    found = solve_with_uv(Question(("packaging",)), _NOMINAL, home, Silent())
    indexes = read_indexes(os.environ)
    others = len(indexes.extra_index_urls) + len(indexes.find_links)
    more = f", with {others} more places from the host's settings" if others else ""
    return f"answers ({found[0].name} {found[0].version}){more}"
