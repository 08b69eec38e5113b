"""A base from a registry: what the registry says, fetched and kept byte for byte, and a base made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine import daemon, environments, registry, store
from engine.digests import bare, sha256_bytes
from engine.errors import BadInput, NbsealError
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base, Layer

_DEFAULT_TAG = "latest"


def base_from(image: str, home: Home, progress: Progress) -> Base:
    """The base of an image of a registry, which is named by its digest; made unless it is there.

    BadInput for a tag alone: it may be another image tomorrow. VerificationFailed when something is not what its
    digest says, EnvironmentFailed when no base can be made of it.
    """
    reference = registry.parse_image(image)
    if not reference.digest:
        raise _unpinned(reference)
    client = registry.Client(reference, "pull")
    document = _manifest(client, reference.digest)
    chosen = environments.choose(document, reference.image)
    index, manifest = (document, _manifest(client, chosen)) if chosen else (b"", document)
    engine = daemon.connect()
    digest = sha256_bytes(manifest)
    built = environments.find_built(digest, home, engine, progress)
    if built is not None:
        return built
    ours = environments.ensure_base(home, engine, progress)  # what is compiled for bases comes from there
    with store.parts(home, digest) as parts:
        config = environments.config_of(manifest, reference.image)
        place = parts / bare(config.digest)
        registry.download(client, config.digest, config.size, place, "the image's config", lambda amount: None)
        upstream = environments.read_upstream(reference.image, index, manifest, place.read_bytes())
        numbered = [*enumerate(upstream.layers, 1)]

        def bring(item: tuple[int, environments.Blob], advance: Callable[[int], None]) -> Layer:
            number, blob = item
            return _layer(client, blob, f"layer {number} of {reference.repository}", parts, home, advance)

        with progress.task(f"Pulling {reference.image}", sum(blob.size for blob in upstream.layers)) as advance:
            first = {blob.digest: (number, blob) for number, blob in reversed(numbered)}
            layers = {layer.diff_id: layer for layer in registry.each(bring, [*first.values()], advance)}
        own = [layers[blob.diff_id] for blob in upstream.layers]
        return environments.build_on(upstream, digest, own, ours, home, engine, progress)


def _layer(
    client: registry.Client,
    blob: environments.Blob,
    of: str,
    parts: Path,
    home: Home,
    advance: Callable[[int], None],
) -> Layer:
    """One layer, unpacked, in the home."""
    kept = environments.kept_layer(blob, of, home)
    if kept is not None:
        advance(blob.size)
        return kept
    part = parts / bare(blob.digest)
    registry.download(client, blob.digest, blob.size, part, of, advance)
    layer = environments.unpack_layer(part, blob, of, home)
    part.unlink()
    return layer


def _manifest(client: registry.Client, named: str) -> bytes:
    found = client.manifest(named, accept=environments.ACCEPT)
    if found is None:
        raise BadInput(f"There is no {client.reference.image}.", client.unknown().hint)
    return found


def _unpinned(reference: registry.Reference) -> BadInput:
    """For a tag alone, with the digest that it has today, where the registry says it."""
    tagged = reference if reference.tag else reference.tagged(_DEFAULT_TAG)
    message = f"{tagged.image} is a tag, and may be another image tomorrow; a base is made of a digest."
    try:
        digest = sha256_bytes(_manifest(registry.Client(tagged, "pull"), tagged.tag))
    except NbsealError as error:
        return BadInput(
            message,
            f"Write it as {tagged.image.rpartition(':')[0]}@sha256:...; it could not be asked for: {error.message}",
        )
    return BadInput(message, f"Today it is: nbseal base build --from {tagged.pinned(digest).image}")
