"""An image's id from what Docker's containerd store says of it, as it says it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.digests import sha256_bytes
from engine.environments.assemble import image_config
from engine.imagestore import find_by_config
from engine.software import Layer

LAYERS = [Layer(f"sha256:{digit * 64}", 1, "x") for digit in "12"]
MANIFEST = f"sha256:{'f' * 64}"


def inspected() -> dict[str, Any]:
    """What Docker 28.5.2 answers, without what is about the machine."""
    return {
        "Id": MANIFEST,
        "Architecture": "amd64",
        "Os": "linux",
        "Created": "1980-01-01T00:00:00Z",
        "Author": "",
        "Comment": "",
        "Config": {
            "Cmd": None,
            "Entrypoint": None,
            "Env": ["PATH=/usr/bin:/bin"],
            "Labels": {"nbseal": "image"},
            "OnBuild": None,
            "User": "",
            "Volumes": None,
            "WorkingDir": "/",
        },
        "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer in LAYERS]},
    }


class Answers:
    """The two questions that are asked, answered with one image."""

    def __init__(self, image: dict[str, Any], tag: str) -> None:
        self.image, self.tag, self.asked = image, tag, 0

    def images(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        assert filters == {"label": "nbseal"}
        return [{"Id": self.image["Id"]}]

    def inspect_image(self, name: str) -> dict[str, Any]:
        from docker.errors import ImageNotFound

        self.asked += 1
        if name not in (self.tag, self.image["Id"]):
            raise ImageNotFound(name)
        return self.image


IMAGE = sha256_bytes(image_config(LAYERS, environment={"PATH": "/usr/bin:/bin"}))
TAG = f"nbseal/image:{IMAGE[7:19]}"


@pytest.mark.parametrize(("tag", "questions"), [(TAG, 1), ("nbseal/stage:other", 3)])
def test_an_image_is_found_by_the_digest_of_its_config(tag: str, questions: int) -> None:
    api = Answers(inspected(), tag)
    assert find_by_config(IMAGE, "nbseal", api) == MANIFEST
    assert api.asked == questions


@pytest.mark.parametrize(
    "other",
    [
        {"Created": "1980-01-01T00:00:01Z"},
        {"Architecture": "arm64"},
        {"RootFS": {"Layers": [LAYERS[0].diff_id]}},
        {"RootFS": {"Layers": None}},
        {"Config": {**inspected()["Config"], "Env": ["PATH=/usr/bin:/bin", "LD_PRELOAD=/x.so"]}},
        {"Config": {**inspected()["Config"], "Entrypoint": ["/bin/sh"]}},
        {"Config": {**inspected()["Config"], "User": "0"}},
        {"Config": {**inspected()["Config"], "Healthcheck": {"Test": ["CMD", "x"]}}},
        {"Config": None},
    ],
)
def test_another_image_under_its_tag_is_not_taken_for_it(other: dict[str, Any]) -> None:
    assert find_by_config(IMAGE, "nbseal", Answers({**inspected(), **other}, TAG)) is None
