"""What an engine's errors mean for the user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import Detached, EngineUnavailable

#: What stands in an engine's words when it does not give GPUs, what that means, and what to do.
_OF_GPUS = (
    (
        r"could not select device driver",
        "The container engine has no driver for GPUs.",
        "Install the NVIDIA Container Toolkit on its machine, then restart the engine; `nbseal doctor` looks again.",
    ),
    (
        r"(?:Unknown runtime specified|unknown or invalid runtime name:?) (?P<what>\S+)",
        "The container engine does not know the runtime {what}.",
        "`nvidia-ctk runtime configure --runtime=docker` on its machine enters it; then restart the engine.",
    ),
    (
        r'exec: \\?"(?P<what>[^"\\]*nvidia[^"\\]*)\\?": (?:executable file not found|stat |fork/exec)',
        "The container engine does not find its own {what}.",
        "Install the NVIDIA Container Toolkit on its machine anew.",
    ),
    (
        r"unresolvable CDI devices (?P<what>[^\s:,]+(?:, ?[^\s:,]+)*)",
        "The container engine does not have {what}.",
        "`nvidia-ctk cdi list` on its machine shows what there is, and `nvidia-ctk cdi generate` makes the list anew.",
    ),
    (
        r"CDI device injection failed|failed to inject CDI devices|CDI.{0,40}(?:not (?:enabled|supported)|registry)",
        "The container engine cannot give GPUs by CDI.",
        "See the files in /etc/cdi on its machine; `nvidia-ctk cdi generate` makes them anew.",
    ),
    (
        r"requirement error: unsatisfied condition: (?P<what>[a-z]+ ?[<>=!]+ ?[\w.]+)",
        "The GPU driver of the engine's machine is too old for the image, which wants {what}.",
        "Update the driver there, or run on another machine.",
    ),
    (
        r"nvidia-container-cli: device error: (?P<what>[^\n]{1,120}?)(?:: unknown)?[.\s]*$",
        "The engine's machine does not have the GPUs that were asked for ({what}).",
        "`nvidia-smi -L` there lists them.",
    ),
    (
        r"nvidia-container-cli: (?P<what>[^\n]{1,160}?)(?:: unknown)?[.\s]*$",
        "The GPU driver of the engine's machine does not work ({what}).",
        "See what `nvidia-smi` says there; reboot it after an update of the driver.",
    ),
    (
        r"error running (?:prestart )?hook.*?stderr: (?P<what>[^\n]{1,160}?)(?:: unknown)?[.\s]*$",
        "A hook of the container engine's failed ({what}).",
        "NVIDIA's, which gives GPUs, logs to /var/log/nvidia-container-toolkit.log on the engine's machine.",
    ),
)


def refused(text: str) -> EngineUnavailable | None:
    """What an engine's words about GPUs mean; None when they are about something else."""
    for pattern, message, hint in _OF_GPUS:
        match = re.search(pattern, text[:8000], re.IGNORECASE | re.MULTILINE)
        if match is not None:
            what = "".join(filter(str.isprintable, match.groupdict().get("what", "")))
            return EngineUnavailable(message.format(what=what), hint)
    return None


#: What comes of bytes that are not what they should be, where they are taken apart.
_SENSELESS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


@contextmanager
def understood(what: str) -> Iterator[None]:
    """As ``explained``, and EngineUnavailable, too, when the engine's answers make no sense: it may be anybody's."""
    with sensible("What the container engine answered"), explained(what):
        yield


@contextmanager
def sensible(source: str) -> Iterator[None]:
    """EngineUnavailable when what came from ``source``, as a sentence begins with it, cannot be taken apart."""
    try:
        yield
    except _SENSELESS as error:
        what = "".join(filter(str.isprintable, f"{type(error).__name__}: {error}"))[:200]
        raise EngineUnavailable(
            f"{source} makes no sense ({what}).", "`nbseal doctor` and `nbseal hosts check` look at engines."
        ) from error


@contextmanager
def explained(what: str = "run the container") -> Iterator[None]:
    """Turn docker-py's exceptions into EngineUnavailable, one sentence and a hint; Detached when it did not answer.

    ``what`` is what the engine was asked to do.
    """
    from docker.errors import APIError, DockerException, ImageNotFound
    from requests.exceptions import RequestException

    try:
        yield
    except ImageNotFound as error:
        raise EngineUnavailable(
            "The container engine does not have the run's image any more.",
            "It was removed meanwhile; run again, and it is loaded from the home.",
        ) from error
    except APIError as error:
        lines = str(error.explanation or error).strip().splitlines() or ["it does not say why"]
        if of_gpus := refused("\n".join(lines)):
            raise of_gpus from error
        text = "".join(filter(str.isprintable, lines[0]))[:500]
        if "no space left on device" in text.lower():
            raise EngineUnavailable(
                "The container engine's disk is full.", "Free space there; `nbseal doctor` shows where it is."
            ) from error
        raise EngineUnavailable(
            f"The container engine refused to {what}: {text}.", "`nbseal doctor` checks the engine."
        ) from error
    except (DockerException, RequestException) as error:
        raise Detached(
            "The container engine stopped answering.", "See whether its daemon runs; `nbseal doctor` checks it."
        ) from error
