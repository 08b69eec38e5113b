"""The lines about what runs were executed in: each image, and what it is made of."""

from __future__ import annotations

from engine.archives import layout
from engine.digests import bare
from engine.pipeline.auditing import again
from engine.pipeline.auditing.tally import Tally, claimed, missing, proven
from engine.pipeline.auditing.whole import Kind, made_again, voucher
from engine.pipeline.checks import Checks
from engine.pipeline.examining import Examined, ExaminedRun

_WHEELS = "the wheels that the records of run and base name"


def tell(examined: Examined, checks: Checks, tally: Tally, kind: Kind) -> None:
    """All lines about the images of the runs."""
    runs: dict[str, list[ExaminedRun]] = {}
    for run in examined.runs:
        if run.record:
            runs.setdefault(run.record.image, []).append(run)
    for _, of_image in sorted(runs.items()):
        _image(examined, of_image, checks, tally, kind)


def _image(examined: Examined, runs: list[ExaminedRun], checks: Checks, tally: Tally, kind: Kind) -> None:
    records = [run.record for run in runs if run.record]
    run, record = runs[-1], records[-1]
    subject, left_out = f"image {bare(record.image)[:12]}", examined.listing.left_out if examined.listing else ()
    base = examined.bases.get(record.base)
    whom = voucher(examined, run, checks)
    whole = missing(kind.left_out["image"] if "image" in left_out else "")
    stands = claimed(f"{whom}: the image, which would show it, is not here; the base's own documents fit each other")
    if "image" not in left_out:
        stands = proven("the layers of both, in their configs, whose digests are the ids; the base's record fits them")
        whole = proven("its config, whose digest is the id, and its layers, which the config names")
    own = [("images", ""), ("image-ids", ""), *([("image", record.image)] if "image" not in left_out else [])]
    tally.add(
        "base", subject, "from which bytes", f"it stands on the base {bare(record.base)[:12]}", stands,
        own=[("bases", ""), ("one-base", record.image), ("base", record.base), ("ingredients", "")],
        after=[] if "image" in left_out else [("image", record.image)],
    )  # fmt: skip
    tally.add("image", subject, "from which bytes", f"the image {record.image}", whole, own=own)
    if "wheels" in left_out:
        tally.add(
            "wheels", subject, "from which bytes", _WHEELS,
            missing(kind.left_out["wheels"]),
        )  # fmt: skip
    else:
        tally.add(
            "wheels", subject, "from which bytes", _WHEELS,
            proven("their bytes, which have the digests in the records of run and base"),
            own=[("wheels", "")], after=[("ingredients", ""), ("digests", layout.WHEELS)],
        )  # fmt: skip
    tally.add(
        "build", subject, "from which bytes", "these wheels and packages give this image",
        claimed(f"{whom}; `nbseal rerun {record.id} --image-only` would prove it"), after=[("hash", record.id)],
    )  # fmt: skip
    same = base and checks.run("sbom", record.image, again.check_sboms, examined, records, base)
    tally.add(
        "sbom", subject, "what", "the SBOM lists what the records of run and base name",
        made_again(examined, checks, same=bool(same)),
        own=[("sbom", record.image)], after=[("base", record.base)],
    )  # fmt: skip
