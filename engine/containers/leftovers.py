"""What nbseal made at an engine and is still there: containers and volumes, by their labels."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from engine.daemon import LABEL, Engine

_KINDS = ("run", "courier", "volume")


@dataclass(frozen=True)
class Item:
    """One container, volume, cached input or image. ``run`` and ``home`` are those that it was made for, if any."""

    kind: str  # "run", "courier", "volume", "part", "input" or "image"
    name: str
    run: str = ""
    home: str = ""
    is_at_work: bool = False  # a container that runs


def find_items(engine: Engine) -> tuple[Item, ...]:
    """Containers and volumes of all runs of all homes; containers first."""
    api: Any = engine.client.api
    found = [
        _item(listed["Names"][0].lstrip("/"), listed["Labels"], listed["State"] in ("running", "paused", "restarting"))
        for listed in api.containers(all=True, filters={"label": LABEL})
    ]
    listed = api.volumes(filters={"label": LABEL})["Volumes"] or []
    found += [_item(volume["Name"], volume["Labels"], False) for volume in listed]
    return tuple(item for item in found if item.kind in _KINDS)


def _item(name: str, labels: dict[str, str], is_at_work: bool) -> Item:
    run, home = labels.get(f"{LABEL}.run", ""), labels.get(f"{LABEL}.home", "")
    return Item(labels.get(LABEL, ""), name, run, home, is_at_work)


def remove_item(engine: Engine, item: Item) -> bool:
    """One container, killing it if need be, or one volume; one that is gone is no error. False for one in use."""
    from docker.errors import APIError

    try:
        if item.kind == "volume":
            engine.client.api.remove_volume(item.name)
        else:
            engine.client.api.remove_container(item.name, force=True)
    except APIError as error:
        status = error.response.status_code if error.response is not None else 0
        if status not in (404, 409):
            raise
        return status == 404
    return True


def remove_cache(engine: Engine) -> tuple[Item, ...]:
    """Inputs and whole images of nbseal that no container uses, whichever home they came from.

    They can be sent again. Parts of images are each home's own to remove.
    """
    from docker.errors import APIError

    api: Any = engine.client.api
    inputs = api.volumes(filters={"label": f"{LABEL}=input"})["Volumes"] or []
    found = [(Item("input", volume["Name"]), api.remove_volume, volume["Name"]) for volume in inputs]
    for image in api.images(filters={"label": LABEL}):
        if (image["Labels"] or {}).get(LABEL) == "part":  # on its way, perhaps from another home
            continue
        # Docker 20.10 has a word for no tag.
        for tag in [tag for tag in image["RepoTags"] or () if tag != "<none>:<none>"] or [image["Id"]]:
            found.append((Item("image", tag), api.remove_image, tag))
    removed = []
    for item, remove, name in found:
        with suppress(APIError):  # in use, or gone meanwhile
            remove(name)
            removed.append(item)
    return tuple(removed)
