"""What an image is made of, as a CycloneDX 1.6 document: the same bytes whenever it is made.

Written here and not with a library, because nothing of today and no address of an index may get into it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from urllib.parse import quote

from engine.digests import bare
from engine.model import Json
from engine.software import Base, DebianPackage, Origin, Wheel

_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # URLs, RFC 9562


def sbom(image: str, base: Base, wheels: Sequence[Wheel]) -> bytes:
    """The document of the image with that id."""
    parts = dict.fromkeys(base.harness, ("harness",))
    for wheel in wheels:
        parts[wheel] = (*parts.get(wheel, ()), "kernel")
    components = [
        *([_origin(base.origin)] if base.origin else []),
        *(_package(package) for package in base.packages),
        *(_wheel(wheel, places) for wheel, places in parts.items()),
    ]
    document: Json = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(_NAMESPACE, image).urn,
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": image,
                "name": "nbseal/image",
                "version": image,
                "hashes": [{"alg": "SHA-256", "content": bare(image)}],
                "properties": [{"name": "nbseal:base", "value": base.id}],
            }
        },
        "components": sorted(components, key=lambda item: str(item["bom-ref"])),
    }
    if base.origin:
        document["compositions"] = [{"aggregate": "unknown", "assemblies": [_origin(base.origin)["bom-ref"]]}]
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _origin(origin: Origin) -> Json:
    """The image of a registry that the base stands on. Of what is in it nothing is known but its digest, and the
    document says so (CycloneDX, "compositions")."""
    name = origin.repository.rpartition("/")[2]
    where = quote(origin.repository, safe="")
    purl = f"pkg:oci/{quote(name)}@{quote(origin.manifest)}?arch=amd64&repository_url={where}"
    component = _component(
        purl, origin.repository, origin.manifest, origin.manifest, {"nbseal:asked": origin.reference}
    )
    return {**component, "type": "container"}


def _package(package: DebianPackage) -> Json:
    purl = (
        f"pkg:deb/debian/{quote(package.name)}@{quote(package.version, safe='~')}"
        f"?arch={quote(package.architecture)}&distro=debian-12"
    )
    return _component(purl, package.name, package.version, package.sha256, {})


def _wheel(wheel: Wheel, places: Sequence[str]) -> Json:
    purl = f"pkg:pypi/{quote(wheel.name)}@{quote(wheel.version)}"
    return _component(purl, wheel.name, wheel.version, wheel.sha256, {"nbseal:environment": ",".join(places)})


def _component(purl: str, name: str, version: str, digest: str, properties: dict[str, str]) -> Json:
    component: Json = {
        "type": "library",
        "bom-ref": f"{purl}#{bare(digest)[:12]}",
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": bare(digest)}],
    }
    if properties:
        component["properties"] = [{"name": key, "value": value} for key, value in properties.items()]
    return component
