"""Who says how the archive came about: an in-toto statement with SLSA provenance, as DSSE in a Sigstore bundle.

The only subject is the tag manifest, which covers all but the attestations (in-toto Statement v1, SLSA provenance v1,
DSSE v1, Sigstore bundle v0.3).
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from engine.archives import layout
from engine.archives.contents import Contents, ended
from engine.digests import bare, canonical_json, sha256_bytes
from engine.model import Json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:nbseal:archive:1"


def statement(contents: Contents, tag_manifest: bytes, origin: str, version: str) -> bytes:
    """The statement; ``origin`` is the ledger's, as whose word it stands."""
    runs = [run.record for run in contents.runs]
    images = {record.image for record in runs}
    sources = {record.source for record in runs if record.source}
    notebooks = {str(record.spec.get("notebook", "")) for record in runs} - {""}
    inputs = {item.digest for record in runs for item in record.inputs}
    named = {"image": images, "source": sources, "notebook": notebooks, "input": inputs}
    predicate: Json = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "runs": [
                    {"id": run.record.id, "hash": run.record.hash, "seal": f"sha256:{run.seal}"}
                    for run in contents.runs
                ],
                "left_out": sorted(contents.left_out),
            },
            "resolvedDependencies": [
                {"name": name, "digest": {"sha256": bare(digest)}}
                for name, digests in named.items()
                for digest in sorted(digests)
            ],
        },
        "runDetails": {
            "builder": {"id": f"urn:{origin.replace('/', ':')}", "version": {"nbseal": version}},
            "metadata": {
                "invocationId": contents.name,
                "startedOn": min(record.created for record in runs),
                "finishedOn": max(ended(record) for record in runs),
            },
        },
    }
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": layout.TAG_MANIFEST, "digest": {"sha256": bare(sha256_bytes(tag_manifest))}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )


def pre_authentication(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """What a DSSE signature is over (PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def bundle(payload: bytes, fingerprint: str, sign: Callable[[bytes], bytes]) -> bytes:
    """The bundle around a statement; ``fingerprint`` is the key's as OpenSSH prints it, by which verifiers find it."""
    signature = sign(pre_authentication(payload))
    return canonical_json(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": fingerprint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": fingerprint}],
            },
        }
    )
