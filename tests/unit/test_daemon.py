"""What is known of an engine from its own answers."""

from typing import Any

from engine.daemon import Engine


def _engine(name: str, **info: str) -> Engine:
    client: Any = None
    return Engine(client, "unix:///x", name, "1", "overlay2", info)


def test_docker_s_id_tells_it_from_others() -> None:
    assert _engine("docker", ID="A", Name="here").id == "A"


def test_podman_makes_up_an_id_for_each_answer_and_is_told_by_its_place() -> None:
    first = _engine("podman", ID="A", Name="here", DockerRootDir="/var/lib/containers")
    assert first.id == _engine("podman", ID="B", Name="here", DockerRootDir="/var/lib/containers").id
    assert first.id != _engine("podman", ID="A", Name="here", DockerRootDir="/home/me/.local").id
    assert first.id != _engine("podman", ID="A", Name="there", DockerRootDir="/var/lib/containers").id
