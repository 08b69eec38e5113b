"""Make another machine's engine hold an image of the home that a registry has: the engine fetches it there itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.daemon import Engine, ignore_engine_errors, reason_of
from engine.digests import bare
from engine.environments.assemble import has_image
from engine.errors import EngineUnavailable, EnvironmentFailed, NbsealError, VerificationFailed
from engine.link import Link
from engine.progress import Progress
from engine.software import Image, Layer

#: What engines say of a pull, and what that means; "{}" are the host and the registry.
_REASONS = (
    (
        ("no space left",),
        "The disk of {0} has no room for the image.",
        "`nbseal hosts prune {0} --cache` removes what is there of nbseal and not in use.",
    ),
    (
        ("x509:", "certificate"),
        "{0} does not trust the certificate of {1}.",
        "Put its authority's certificate into /etc/docker/certs.d/{1}/ca.crt on {0}, or leave out --via.",
    ),
    (
        ("http response to https",),
        "{1} speaks without TLS, and {0} does not accept that.",
        "Give the registry a certificate, or leave out --via.",
    ),
    (
        ("unauthorized", "denied", "no basic auth", "authentication required"),
        "{1} refuses access to {0}.",
        "`docker login {1}` on this machine tells nbseal the password; it is shown to the engine of {0}.",
    ),
    (
        ("connection refused", "no route", "no such host", "timeout", "unreachable", "deadline", "server misbehaving"),
        "{0} does not reach {1}.",
        "It fetches the image itself, so its name has to lead there from {0}, too; or leave out --via.",
    ),
    (
        ("not found", "manifest unknown"),
        "{1} does not have the image any more.",
        "Somebody removed it there; run the same command again.",
    ),
)


@dataclass(frozen=True)
class Source:
    """Where an image lies: HOST[:PORT] and repository, the digest of its manifest, and docker's words on who asks."""

    registry: str
    repository: str
    digest: str
    account: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}"


def pull_image(image: Image, source: Source, link: Link, progress: Progress) -> None:
    """Have the engine of ``link`` fetch exactly this image, tagged as any of ours.

    EnvironmentFailed when it cannot; EngineUnavailable when the way is lost; VerificationFailed, and nothing stays
    there, when what came is another image.
    """
    try:
        link.attempt(
            lambda engine: _pull(image, source, engine, progress),
            on_break=lambda why: progress.say(f"  The link to {link.name} broke: {why}"),
        )
    except EngineUnavailable as error:
        hint = "The image is in the registry: the same command has the host fetch it from there."
        raise EngineUnavailable(error.message, hint) from error


def _pull(image: Image, source: Source, engine: Engine, progress: Progress) -> None:
    from docker.errors import APIError

    if has_image(image.id, engine):  # when only the answer was lost
        return
    api: Any = engine.client.api
    text = f"{engine.host} fetches the image from {source.registry}"
    with progress.task(text, sum(layer.size for layer in image.layers)) as advance:
        done: dict[str, int] = {}
        try:
            # An account is always said: docker-py would look for one by itself, and tell the engine of others, too.
            lines = api.pull(source.name, source.digest, stream=True, decode=True, auth_config={**source.account})
            for line in lines:
                if "error" in line:
                    raise _refusal(str(line["error"]), source, engine)
                for layer, size in _arrived(line, image.layers):
                    advance(size - done.get(layer, 0))
                    done[layer] = size
            _check(image, source, engine)
        except APIError as error:
            raise _refusal(str(error.explanation or reason_of(error)), source, engine) from error


def _arrived(line: Any, layers: Sequence[Layer]) -> list[tuple[str, int]]:
    """Which layer a line is about, and how many bytes of it are there. Layers are known by their digest's beginning."""
    named, status = str(line.get("id", "")), str(line.get("status", ""))
    for layer in layers:
        if len(named) >= 12 and bare(layer.diff_id).startswith(named):
            current = (line.get("progressDetail") or {}).get("current")
            if status == "Downloading" and isinstance(current, int):
                return [(layer.diff_id, min(current, layer.size))]
            if status in ("Already exists", "Download complete", "Pull complete"):
                return [(layer.diff_id, layer.size)]
    return []


def _check(image: Image, source: Source, engine: Engine) -> None:
    """Keep what came under our name if it is the image, and not at all if it is not."""
    api: Any = engine.client.api
    reference, tag = f"{source.name}@{source.digest}", bare(image.id)[:12]
    found = str(api.inspect_image(reference)["Id"])
    api.tag(reference, "nbseal/image", tag)  # before it is looked for, because some find ours by their names
    is_it = has_image(image.id, engine)
    with ignore_engine_errors():
        api.remove_image(reference)
    if not is_it:
        with ignore_engine_errors():
            api.remove_image(f"nbseal/image:{tag}")
        raise VerificationFailed(
            f"What {engine.host} fetched from {source.registry} is the image {found[:80]}, not {image.id}.",
            f"It was removed there. See `nbseal hosts check {engine.host}`, and who may write to that repository.",
        )


def _refusal(reason: str, source: Source, engine: Engine) -> NbsealError:
    """What the engine's words mean for a user."""
    lowered = reason.lower()
    for words, message, hint in _REASONS:
        if any(word in lowered for word in words):
            said = message.format(engine.host, source.registry)
            return EnvironmentFailed(said, hint.format(engine.host, source.registry))
    short = "".join(char for char in reason if char.isprintable())[:300].rstrip(".")
    return EnvironmentFailed(
        f"The engine of {engine.host} did not fetch the image from {source.registry}: {short}.",
        "Leave out --via to send it over the link.",
    )
