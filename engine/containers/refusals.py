"""What an engine's errors mean for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import Detached, EngineUnavailable


@contextmanager
def explained() -> Iterator[None]:
    """Turn docker-py's exceptions into EngineUnavailable, one sentence and a hint; Detached when it did not answer."""
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
        text = str(error.explanation or error).strip().splitlines()[0][:500]
        if "no space left on device" in text.lower():
            raise EngineUnavailable(
                "The container engine's disk is full.", "Free space there; `nbseal doctor` shows where it is."
            ) from error
        raise EngineUnavailable(
            f"The container engine refused to run the container: {text}.", "`nbseal doctor` checks the engine."
        ) from error
    except (DockerException, RequestException) as error:
        raise Detached(
            "The container engine stopped answering.", "See whether its daemon runs; `nbseal doctor` checks it."
        ) from error
