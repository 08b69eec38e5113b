"""All benchmarks, one after the other, as Markdown."""

from __future__ import annotations

from benchmarks import archive_speed, compare, fsck_speed, help_time, image_build, remote_run, transfer, warm_run

for title, benchmark in (
    ("Start", help_time),
    ("Comparison", compare),
    ("Warm run", warm_run),
    ("Run on another machine", remote_run),
    ("Image build", image_build),
    ("fsck", fsck_speed),
    ("Archive", archive_speed),
    ("Image to another machine", transfer),
):
    print(f"## {title}\n", flush=True)
    benchmark.main()
    print(flush=True)
