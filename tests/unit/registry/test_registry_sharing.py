"""Runs through a registry: what arrives is what was sent, nothing is sent twice, and cuts cost what they cut."""

from __future__ import annotations

import json
import shutil

import pytest

from engine import pipeline, store
from engine.digests import bare, sha256_bytes
from engine.errors import BadInput, EnvironmentFailed
from engine.pipeline.pulling import Pulled
from engine.pipeline.pushing import Pushed
from engine.progress import Silent
from engine.settings import Home
from tests.unit.archives.small_archives import tree
from tests.unit.registry.conftest import Sample
from tests.unit.registry.memory_registry import MANIFEST, Asked, MemoryRegistry


def pushed(home: Home, run: str, at: MemoryRegistry, tag: str = "", left_out: tuple[str, ...] = ()) -> Pushed:
    return pipeline.push(run, f"oci://{at.address}/team/churn{tag}", left_out, home, Silent())


def pulled(home: Home, at: MemoryRegistry, named: str) -> Pulled:
    return pipeline.pull(f"oci://{at.address}/team/churn{named}", home, Silent())


def test_a_run_arrives_as_it_was(sample: Sample, registry: MemoryRegistry, target: Home) -> None:
    done = pushed(sample.home, sample.one.id, registry)
    assert done.reference.tag == sample.one.id
    came = pulled(target, registry, f":{sample.one.id}")
    assert came.reference.digest == done.digest == sha256_bytes(registry.manifests[sample.one.id][1])
    assert [(item.record.id, item.known) for item in came.imported.runs] == [(sample.one.id, False)]
    assert tree(target.runs / sample.one.id) == tree(sample.home.runs / sample.one.id)
    project = target.runs / sample.one.id / "project"
    assert project.joinpath("tool.sh").stat().st_mode & 0o777 == 0o555
    assert project.joinpath("one.bin").stat().st_ino != project.joinpath("two.bin").stat().st_ino
    assert {finding.what for finding in store.fsck(target, Silent()).findings} == set()
    assert not list(target.temporary.iterdir())


def test_the_artifact_is_as_documented(sample: Sample, registry: MemoryRegistry) -> None:
    done = pushed(sample.home, sample.one.id, registry, ":v1")
    manifest = json.loads(registry.manifests["v1"][1])
    assert manifest["artifactType"] == "application/vnd.nbseal.run.v1"
    assert manifest["annotations"]["nbseal.run"] == sample.one.id
    assert manifest["annotations"]["nbseal.hash"] == sample.one.hash
    assert manifest["layers"][0]["mediaType"] == "application/vnd.nbseal.bag.v1.tar"
    titles = {item["annotations"]["org.opencontainers.image.title"] for item in manifest["layers"][1:]}
    assert f"data/runs/{sample.one.id}/project/one.bin" in titles
    assert {title.split("/")[1] for title in titles} == {"runs", "blobs", "wheels", "packages"}
    # The image has its own manifest, which the run names as its subject.
    tag = f"image-{bare(sample.one.image)[:12]}"
    assert done.image == f"{registry.address}/team/churn:{tag}"
    image = registry.manifests[tag][1]
    assert manifest["subject"]["digest"] == sha256_bytes(image)
    assert json.loads(image)["config"]["digest"] == sample.one.image
    everything = [manifest["config"], *manifest["layers"], json.loads(image)["config"], *json.loads(image)["layers"]]
    assert {item["digest"] for item in everything} == registry.blobs.keys()
    assert all(len(registry.blobs[item["digest"]]) == item["size"] for item in everything)


def test_referrers_are_listed_where_the_registry_does_not(sample: Sample, registry: MemoryRegistry) -> None:
    first, second = (pushed(sample.home, run.id, registry) for run in (sample.one, sample.other))
    pushed(sample.home, sample.one.id, registry)
    subject = json.loads(registry.manifests[sample.one.id][1])["subject"]["digest"]
    kind, index = registry.manifests[subject.replace(":", "-")]
    assert kind == "application/vnd.oci.image.index.v1+json"
    assert [item["digest"] for item in json.loads(index)["manifests"]] == [first.digest, second.digest]
    assert {item["artifactType"] for item in json.loads(index)["manifests"]} == {"application/vnd.nbseal.run.v1"}


def test_referrers_are_left_to_a_registry_that_keeps_them(sample: Sample, registry: MemoryRegistry) -> None:
    registry.knows_referrers = True
    pushed(sample.home, sample.one.id, registry)
    assert registry.count("PUT", "/manifests/") == 3  # the image, the run by its digest, its tag
    assert not any(name.startswith("sha256-") for name in registry.manifests)


def test_tags_that_cannot_be_moved_are_no_obstacle(sample: Sample, registry: MemoryRegistry) -> None:
    def immutable(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        name = asked.path.rpartition("/manifests/")[2]
        taken = asked.method == "PUT" and name in registry.manifests and not name.startswith("sha256:")
        return (403, {}, b"") if taken else None

    registry.misbehave = immutable
    for run in (sample.one, sample.other, sample.one):
        pushed(sample.home, run.id, registry)
    with pytest.raises(EnvironmentFailed):
        pushed(sample.home, sample.one.id, registry, f":{sample.other.id}")


def test_what_is_there_is_not_sent_again(sample: Sample, registry: MemoryRegistry) -> None:
    first = pushed(sample.home, sample.one.id, registry)
    assert (first.skipped, first.sent) == (0, sum(len(data) for data in registry.blobs.values()))
    again = pushed(sample.home, sample.one.id, registry)
    assert (again.sent, again.skipped, again.digest) == (0, first.sent, first.digest)
    # Another run of the project: its own output and its bag, but no image, no wheels, no source.
    before = set(registry.blobs)
    other = pushed(sample.home, sample.other.id, registry)
    bag = json.loads(registry.manifests[sample.other.id][1])["layers"][0]["digest"]
    new = {len(registry.blobs[digest]) for digest in registry.blobs.keys() - before}
    assert new == {len(registry.blobs[bag]), len("other") * 30_000}
    assert other.sent == sum(new)


def test_what_the_home_has_is_not_fetched_again(sample: Sample, registry: MemoryRegistry, target: Home) -> None:
    for run in (sample.one, sample.other):
        pushed(sample.home, run.id, registry)
    first = pulled(target, registry, f":{sample.one.id}")
    assert first.skipped == 0
    second = pulled(target, registry, f":{sample.other.id}")
    assert second.skipped > 200_000  # the source, wheels, packages and layers
    assert second.received < first.received
    # Content of the home that is no longer what it was is not taken, and is right again afterwards.
    digest = next(
        item.digest for item in store.read_source(store.open_run(target, sample.one.id)).files if item.size > 99_999
    )
    kept = store.blob_path(target, digest)
    good = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(good[:-1] + b"?")
    pulled(target, registry, f":{sample.other.id}")
    assert kept.read_bytes() == good
    known = pulled(target, registry, f":{sample.one.id}")
    assert [item.known for item in known.imported.runs] == [True]


@pytest.mark.parametrize("left_out", [("image",), ("wheels",), ("inputs",), ("image", "wheels", "inputs")])
def test_parts_can_be_left_out(
    left_out: tuple[str, ...], sample: Sample, registry: MemoryRegistry, target: Home
) -> None:
    done = pushed(sample.home, sample.one.id, registry, left_out=left_out)
    manifest = json.loads(registry.manifests[sample.one.id][1])
    assert ("subject" in manifest, bool(done.image)) == ("image" not in left_out,) * 2
    came = pulled(target, registry, f"@{done.digest}")
    assert [text for text in came.imported.absent if text.startswith("left out")] == [
        f"left out: {part}" for part in sorted(left_out)
    ]


def test_an_upload_goes_on_where_the_connection_broke(
    sample: Sample, registry: MemoryRegistry, target: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.registry.upload._PART", 10_000)
    monkeypatch.setattr("engine.registry.parallel._AT_ONCE", 1)
    registry.cuts = [7_000, 3_000, 65]
    done = pushed(sample.home, sample.one.id, registry)
    whole = sum(len(data) for data in registry.blobs.values())
    came = registry.body("PATCH") + sum(
        item.body for item in registry.asked if "/uploads/" in item.path and item.method == "PUT"
    )
    assert came == whole  # nothing that had arrived was sent again
    assert not registry.cuts
    assert registry.count("GET", "/uploads/") == 3
    assert pulled(target, registry, f"@{done.digest}").imported.runs


def test_an_upload_that_the_registry_lost_begins_anew(
    sample: Sample, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.registry.upload._PART", 10_000)
    lost: list[str] = []

    def forget(asked: Asked) -> None:
        if asked.method == "PATCH" and not lost and asked.headers["content-range"].startswith("10000-"):
            lost.append(asked.path)
            registry.uploads.pop(asked.path.rpartition("/")[2])

    registry.misbehave = forget
    pushed(sample.home, sample.one.id, registry)
    assert lost
    assert sample.one.id in registry.manifests


def test_a_push_that_ended_early_leaves_no_tag_and_is_gone_on_with(sample: Sample, registry: MemoryRegistry) -> None:
    def stop(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        full = len(registry.blobs) >= 4 and asked.method == "POST"
        return (403, {}, b'{"errors":[{"code":"DENIED","message":"quota \\u001b[31mexceeded"}]}') if full else None

    registry.misbehave = stop
    with pytest.raises(EnvironmentFailed, match=r"may not do that \(quota \[31mexceeded\)"):
        pushed(sample.home, sample.one.id, registry)
    assert not registry.manifests
    there = {digest: len(data) for digest, data in registry.blobs.items()}
    registry.misbehave = lambda asked: None
    done = pushed(sample.home, sample.one.id, registry)
    assert done.skipped == sum(there.values()) > 0


def test_a_download_goes_on_where_the_connection_broke(sample: Sample, registry: MemoryRegistry, target: Home) -> None:
    done = pushed(sample.home, sample.one.id, registry)
    registry.cuts = [70, 1_000, 50_000]
    came = pulled(target, registry, f"@{done.digest}")
    whole = json.loads(registry.manifests[sample.one.id][1])
    image = json.loads(registry.manifests[whole["subject"]["digest"]][1])
    sizes = {item["digest"]: item["size"] for item in (*whole["layers"], image["config"], *image["layers"])}
    assert came.received == sum(sizes.values())
    assert not registry.cuts


def test_what_came_stays_for_the_next_pull(sample: Sample, registry: MemoryRegistry, target: Home) -> None:
    done = pushed(sample.home, sample.one.id, registry)
    first = pipeline.pull(f"oci://{registry.address}/team/churn@{done.digest}", Home(target.root / "x"), Silent())
    asked: list[Asked] = []

    def away(asking: Asked) -> tuple[int, dict[str, str], bytes] | None:
        asked.append(asking)
        return (503, {}, b"") if sum("/blobs/" in item.path for item in asked) > 4 else None

    registry.misbehave = away
    with pytest.raises(EnvironmentFailed, match="does not answer: it answers with HTTP 503"):
        pulled(target, registry, f"@{done.digest}")
    assert not target.runs.exists()
    registry.misbehave = lambda asked: None
    again = pulled(target, registry, f"@{done.digest}")
    assert 0 < again.received < first.received
    assert not list(target.temporary.iterdir())


def test_what_is_damaged_in_the_home_is_not_sent(sample: Sample, registry: MemoryRegistry) -> None:
    wheel = sample.one.wheels[0]
    kept = sample.home.wheels / bare(wheel.sha256) / wheel.filename
    good = kept.read_bytes()
    try:
        kept.write_bytes(good[:-1] + b"?")
        with pytest.raises(EnvironmentFailed, match=f"{wheel.filename} is gone or damaged"):
            pushed(sample.home, sample.one.id, registry)
    finally:
        kept.write_bytes(good)
    assert wheel.sha256 not in registry.blobs
    assert not registry.manifests


def test_something_else_at_a_tag_is_refused(sample: Sample, registry: MemoryRegistry, target: Home) -> None:
    done = pushed(sample.home, sample.one.id, registry)
    with pytest.raises(BadInput, match="is no run of nbseal"):
        pulled(target, registry, f":{done.image.rpartition(':')[2]}")
    with pytest.raises(BadInput, match="There is no oci://") as error:
        pulled(target, registry, ":v9")
    assert sample.one.id in error.value.hint
    with pytest.raises(BadInput, match=r"There is no oci://.*:latest"):
        pulled(target, registry, "")
    with pytest.raises(BadInput, match="not to a digest"):
        pushed(sample.home, sample.one.id, registry, f"@{done.digest}")
    assert registry.manifests[done.reference.tag][0] == MANIFEST


def test_tags_of_images_are_not_given_to_runs(sample: Sample, registry: MemoryRegistry) -> None:
    done = pushed(sample.home, sample.one.id, registry)
    subject = json.loads(registry.manifests[sample.one.id][1])["subject"]["digest"]
    before = dict(registry.manifests)
    for tag in (done.image.rpartition(":")[2], subject.replace(":", "-")):
        with pytest.raises(BadInput, match="are those of images"):
            pushed(sample.home, sample.other.id, registry, f":{tag}")
    assert registry.manifests == before


def test_a_home_that_can_only_be_read_is_pushed_from(sample: Sample, registry: MemoryRegistry) -> None:
    # Root, as whom tests may run, may write everywhere: so a file stands where the folder would be made.
    shutil.rmtree(sample.home.temporary, ignore_errors=True)
    sample.home.temporary.write_bytes(b"")
    try:
        pushed(sample.home, sample.one.id, registry)
    finally:
        sample.home.temporary.unlink()
    assert sample.one.id in registry.manifests


def test_too_many_large_files_go_into_the_tar(
    sample: Sample, registry: MemoryRegistry, target: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.registry.MAX_FILES", 2)
    done = pushed(sample.home, sample.one.id, registry)
    assert len(json.loads(registry.manifests[sample.one.id][1])["layers"]) == 3
    assert pulled(target, registry, f"@{done.digest}").imported.runs
