"""Names and passwords, as ``docker login`` left them: in docker's config.json, or with the helper that it names."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from engine.errors import EnvironmentFailed


@dataclass(frozen=True)
class Credentials:
    """What docker knows for a registry: a name and its password, or a token that stands for both; or nothing."""

    name: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.token or self.name)

    def for_docker(self, registry: str) -> dict[str, str]:
        """As an engine wants it with a pull (its API's AuthConfig); it is sent to that engine and kept nowhere."""
        if not self:
            return {}
        said = {"username": self.name, "password": self.password, "identitytoken": self.token}
        return {**{name: value for name, value in said.items() if value}, "serveraddress": registry}


def find(registry: str) -> Credentials:
    """EnvironmentFailed when docker's settings cannot be read. What is found is shown to nobody."""
    from docker import auth
    from docker.errors import DockerException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a helper that is missing: said below
            found = auth.resolve_authconfig(auth.load_config(), registry) or {}
    except (DockerException, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # Its text may hold what a helper printed.
        raise EnvironmentFailed(
            f"Docker's settings give no password for {registry}: {type(error).__name__}.",
            "Look into ~/.docker/config.json (or where DOCKER_CONFIG says) and at the credential helper that it names.",
        ) from None
    lowered = {str(key).lower(): str(value) for key, value in found.items() if value}
    return Credentials(lowered.get("username", ""), lowered.get("password", ""), lowered.get("identitytoken", ""))
