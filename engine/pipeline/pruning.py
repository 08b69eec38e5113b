"""What dead runs left on a host, removed."""

from __future__ import annotations

from dataclasses import dataclass

from engine import containers, environments, store
from engine.containers import Item
from engine.pipeline.launching import link_to
from engine.pipeline.reading import runs
from engine.progress import Progress
from engine.settings import Home


@dataclass(frozen=True)
class Pruned:
    """``kept`` are of this home's runs under way or not recorded yet, ``others`` counts those of other homes."""

    removed: tuple[Item, ...]
    kept: tuple[Item, ...]
    others: int


def prune(name: str, home: Home, progress: Progress, *, cache: bool) -> Pruned:
    """Remove containers and volumes of this home's runs that are recorded, discarded or purged, and not at work.

    Runs that have ended are recorded first, with what they left. Parts of images go, too, whose sender was killed.
    With ``cache``, also inputs and images that no container uses. EngineUnavailable when the engine refuses.
    """
    with link_to(name, home) as link, containers.explained("remove what is there"):
        _ = link.engine
        # Before the home is asked: what belongs to a run that begins meanwhile is then not among them.
        items = link.attempt(containers.find_items)
        begun = _begun(home, progress)
        own = store.home_id(home)
        ours = [item for item in items if own and item.home == own]
        at_work = {item.run for item in ours if item.kind == "run" and item.is_at_work}
        dead = [item for item in ours if item.run not in begun | at_work]
        removed = []
        for item in dead:
            if link.attempt(lambda engine, item=item: containers.remove_item(engine, item)):  # type: ignore[misc]
                removed.append(item)
            else:
                progress.say(f"{item.name} is in use, or being removed by another command; it stays.")
        parts = environments.remove_parts(own, home, link)
        cached = link.attempt(containers.remove_cache) if cache else ()
    kept = tuple(item for item in ours if item not in dead)
    return Pruned((*removed, *(Item("part", name) for name in parts), *cached), kept, len(items) - len(ours))


def _begun(home: Home, progress: Progress) -> set[str]:
    """Runs that are not recorded, or whose record cannot be read: what they left may be all that there is of them."""
    under_way = {run.id for run in runs(home, progress) if run.status == "running"}
    # Asked last: the process of a run may have died since it was listed.
    return under_way | set(store.unfinished(home)) | set(store.damaged_runs(home))
