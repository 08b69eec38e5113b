"""What archives say of themselves, and who vouches for them."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from archive_builders import base, contents, image, wheel
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine import archives
from engine.archives import layout, provenance
from engine.errors import BadInput
from engine.model import FlagValue, OutputFile
from engine.software import Origin


def test_archive_json_says_what_is_there_and_what_is_not() -> None:
    told = replace(contents("wheels", "image", packed=True), missing=(archives.Missing("input a", "too large"),))
    found = json.loads(archives.to_json(told))
    assert found["schema"] == 1
    assert found["left_out"] == ["image", "wheels"]
    assert found["missing"] == [{"what": "input a", "why": "too large"}]
    assert found["packed"] == ["0123456789abcdef"]
    assert found["runs"][0]["seal"] == "sha256:" + "5" * 64
    assert archives.bag_info(told) == [("Bagging-Date", "2026-01-02"), ("External-Identifier", "sha256:" + "5" * 64)]


def test_the_readme_says_what_is_missing_and_survives_hostile_names() -> None:
    whole = archives.readme(contents())
    assert "Nothing: all that is known" in whole
    assert "docker load" in whole
    assert "needs no network" in whole
    bare = archives.readme(contents("image", "wheels"))
    assert "docker load" not in bare
    assert "| `wheels/, packages/`" not in bare
    assert "Left out on purpose: the wheels" in bare
    assert "tar -xf project.tar" in archives.readme(contents(packed=True))
    hostile = archives.readme(contents(name="a|b\n# <script> `x` \x1b[2J{hash}"))
    assert "<script>" not in hostile
    assert "\x1b" not in hostile
    assert "\n# ?" not in hostile


def test_the_crate_is_about_what_is_in_the_archive() -> None:
    told = contents()
    run = told.runs[0]
    output = OutputFile("out put%.txt", "added", 3, "sha256:" + "3" * 64, "text/plain")
    gone = OutputFile("gone", "deleted", 0, "", "")
    record = replace(run.record, outputs=(output, gone), flags=(FlagValue("x y", "int", "3"),))
    files = {**run.files, "project/out put%.txt": ("3" * 64, 3)}
    crate = json.loads(archives.crate(archives.Contents((replace(run, record=record, files=files),)), ["image"]))
    graph = {item["@id"]: item for item in crate["@graph"]}
    assert len(graph) == len(crate["@graph"])
    action = graph["#run-0123456789abcdef"]
    assert (action["startTime"], action["endTime"]) == (
        "2026-01-02T03:04:05.678+00:00",
        "2026-01-02T03:05:00.000+00:00",
    )
    folder = "runs/0123456789abcdef"
    assert graph[f"{folder}/project/out%20put%25.txt"]["sha256"] == "3" * 64
    assert f"{folder}/project/gone" not in graph
    assert graph[graph["#flag-0123456789abcdef-x%20y"]["exampleOfWork"]["@id"]]["name"] == "x y"
    assert graph["./"]["mainEntity"] == action["instrument"] == {"@id": f"{folder}/notebook.ipynb"}
    assert graph[action["containerImage"]["@id"]]["sha256"] == "3" * 64
    several = archives.Contents((run, replace(run, record=replace(run.record, id="f" * 16, status="failed"))))
    graph = {item["@id"]: item for item in json.loads(archives.crate(several, []))["@graph"]}
    assert "mainEntity" not in graph["./"]
    assert graph["#run-" + "f" * 16]["actionStatus"] == "http://schema.org/FailedActionStatus"


def test_an_sbom_names_everything_once_and_nothing_of_today() -> None:
    shared = base().harness[0]
    document = archives.sbom(image("3").id, base(), (wheel("six", "f"), shared))
    assert document == archives.sbom(image("3").id, base(), (shared, wheel("six", "f")))
    bom = json.loads(document)
    assert bom["serialNumber"].startswith("urn:uuid:")
    assert "timestamp" not in bom["metadata"]
    found = {item["name"]: item for item in bom["components"]}
    assert (
        found["libstdc++6"]["purl"] == "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"
    )
    assert found["six"]["purl"] == "pkg:pypi/six@1.0%2Blocal"
    assert found["nbclient"]["properties"] == [{"name": "nbseal:environment", "value": "harness,kernel"}]
    assert len(bom["components"]) == 3
    assert json.loads(archives.sbom(image("4").id, base(), ()))["serialNumber"] != bom["serialNumber"]


def test_what_is_in_an_image_of_a_registry_is_said_to_be_unknown() -> None:
    assert "compositions" not in json.loads(archives.sbom(image("3").id, base(), ()))
    manifest = "sha256:" + "7" * 64
    origin = Origin(f"registry.example/python@{manifest}", manifest, (), "/usr/bin/python3")
    bom = json.loads(archives.sbom(image("3").id, replace(base(), origin=origin, packages=()), ()))
    (container,) = [item for item in bom["components"] if item["type"] == "container"]
    assert bom["compositions"] == [{"aggregate": "unknown", "assemblies": [container["bom-ref"]]}]


def test_images_share_layers_in_one_folder() -> None:
    whole = [archives.WholeImage(image(digit), f"config {digit}".encode()) for digit in "43"]
    members = archives.image_members(whole, lambda layer: Path("/nowhere") / layer.of)
    saved = json.loads(b"".join(members[layout.DOCKER_MANIFEST].read()))
    assert [item["RepoTags"] for item in saved] == [["nbseal/image:" + "3" * 12], ["nbseal/image:" + "4" * 12]]
    index = json.loads(b"".join(members[layout.OCI_INDEX].read()))
    assert len(index["manifests"]) == 2
    layers = [member for member in members.values() if member.kind == "layer"]
    assert len(layers) == 3
    for item in saved:
        for path in item["Layers"]:
            assert f"image/{path}" in members
    for described in index["manifests"]:
        manifest = json.loads(b"".join(members[layout.image_blob(described["digest"][7:])].read()))
        assert all(layout.image_blob(layer["digest"][7:]) in members for layer in manifest["layers"])


def test_what_is_signed_is_the_pre_authentication_encoding() -> None:
    # The example of the DSSE protocol's own text.
    assert provenance.pre_authentication(b"hello world", "http://example.com/HelloWorld") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    key = Ed25519PrivateKey.generate()
    statement = archives.statement(contents("image"), b"tags", "nbseal/ledger/0123456789abcdef", "1.2")
    bundle = json.loads(archives.bundle(statement, "SHA256:abc", key.sign))
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    assert payload == statement
    [signature] = envelope["signatures"]
    signed = provenance.pre_authentication(payload, envelope["payloadType"])
    key.public_key().verify(base64.b64decode(signature["sig"]), signed)
    assert signature["keyid"] == "SHA256:abc"
    told = json.loads(statement)["predicate"]
    assert told["buildDefinition"]["externalParameters"]["left_out"] == ["image"]
    assert told["runDetails"]["builder"]["id"] == "urn:nbseal:ledger:0123456789abcdef"


def test_a_proof_is_written_as_c2sp_has_it() -> None:
    # As the text of the specification lays it out.
    found = archives.proof(5, [bytes(32), b"\x01" * 32], b"origin\n6\nroot\n\n")
    steps = [base64.b64encode(step).decode() for step in (bytes(32), b"\x01" * 32)]
    assert found.decode() == f"c2sp.org/tlog-proof@v1\nindex 5\n{steps[0]}\n{steps[1]}\n\norigin\n6\nroot\n\n"


@pytest.mark.parametrize(
    "url", ["", "tsa.example", "file:///etc/passwd", "ftp://tsa.example/", "http://", "https:///x"]
)
def test_only_http_is_asked_for_the_time(url: str) -> None:
    with pytest.raises(BadInput):
        archives.check_url(url)
