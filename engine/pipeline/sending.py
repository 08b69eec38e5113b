"""A run's image to where it runs: over the link, layer by layer, or through a registry that both sides reach."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from engine import archives, containers, daemon, environments, registry, store
from engine.archives import layout
from engine.digests import bare
from engine.errors import BadInput
from engine.link import Link
from engine.pipeline.pushing import content, manifest_of, name_image
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base, Image


def ensure_image(image: Image, link: Link, home: Home, progress: Progress, via: str = "") -> None:
    """Make the engine of ``link`` hold exactly this image; one that has it already is asked one question.

    ``via`` names a repository through which it goes, as the host's own ``via`` does. Layers that are gone from the home
    are made again. Raises EnvironmentFailed for what cannot be made or sent, EngineUnavailable when the way is lost,
    VerificationFailed when the engine got another image.
    """
    place = check_way(link, via)
    if link.host is None:
        environments.load_image(image, home, link.engine, progress)
        return
    _have(image.id, lambda: environments.hold_image(image, home, daemon.connect, progress), place, link, home, progress)


def ensure_base(base: Base, link: Link, home: Home, progress: Progress, via: str = "") -> None:
    """The same for a base, which may be needed before anything is built on it."""
    place = check_way(link, via)
    if link.host is None:
        environments.restore_base(base, home, link.engine, progress)
        return

    def held() -> tuple[Image, bytes]:
        environments.restore_layers(base, home, daemon.connect(), progress)
        return Image(base.id, base.id, (), base.layers), environments.load_config(base, home)

    _have(base.id, held, place, link, home, progress)


def _have(
    image_id: str,
    hold: Callable[[], tuple[Image, bytes]],
    place: registry.Reference | None,
    link: Link,
    home: Home,
    progress: Progress,
) -> None:
    """Send it unless it is there; ``hold`` gives it with its config, once the home has its layers."""
    with containers.explained("look for the image"):
        is_there = link.attempt(lambda engine: environments.has_image(image_id, engine))
    if is_there:
        return
    try:
        _bring(archives.WholeImage(*hold()), place, link, home, progress)
    except environments.LayersMissing:
        progress.say("  A layer of the image is damaged.")
        _bring(archives.WholeImage(*hold()), place, link, home, progress)


def check_way(link: Link, via: str) -> registry.Reference | None:
    """The repository through which images go there; BadInput when it is none, or nothing goes anywhere."""
    if link.host is None and via:
        raise BadInput("--via is for a run on another machine.", "Say which with --host, or leave out --via.")
    via = via or (link.host.via if link.host else "")
    return repository(via) if via else None


def repository(via: str) -> registry.Reference:
    """What ``--via`` names; BadInput when it is no repository."""
    place = registry.parse(via if via.startswith(registry.SCHEME) else f"{registry.SCHEME}{via}")
    if place.tag or place.digest:
        raise BadInput("--via takes a repository, without a tag or digest.", "Write it as HOST[:PORT]/REPOSITORY.")
    return place


def _bring(
    whole: archives.WholeImage, place: registry.Reference | None, link: Link, home: Home, progress: Progress
) -> None:
    if place is None:
        environments.send_image(whole.image, whole.config, _owner(home), home, link, progress)
    else:
        digest = _push(whole, place, home, progress)
        account = registry.find_credentials(place.registry).for_docker(place.registry)
        source = environments.Source(place.registry, place.repository, digest, account)
        environments.pull_image(whole.image, source, link, progress)


def _owner(home: Home) -> str:
    """The home's id, which its ledger gives it."""
    if not store.home_id(home):
        store.heal(home)
    return store.home_id(home)


def _push(whole: archives.WholeImage, place: registry.Reference, home: Home, progress: Progress) -> str:
    """Have the registry hold the image, under the tag that ``push`` gives it, too; the digest of its manifest."""
    members = archives.image_members([whole], partial(environments.layer_file, home=home))
    described = manifest_of(members)
    client = registry.Client(place, "pull,push")
    if client.manifest(described.digest) is not None:
        return described.digest
    blobs = [member for path, member in members.items() if path.startswith(f"{layout.IMAGE_BLOBS}/")]
    contents = [content(member) for member in blobs if member.digest != bare(described.digest)]
    with progress.task(f"Pushing the image to {place}", sum(item.size for item in contents)) as advance:
        try:
            registry.send(client, contents, advance)
        except registry.Damaged as error:
            raise environments.LayersMissing(environments.find_damaged(whole.image.layers, home)) from error
    name_image(client, members, described, whole.image.id)
    return described.digest
