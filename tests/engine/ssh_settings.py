"""Keys and settings for one OpenSSH server and the one user that it knows."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def prepare_ssh(folder: Path, name: str, address: str, *, inside: str) -> None:
    """Make the folder anew: for the server ``sshd_config``, which finds the folder as ``inside``; for the user
    ``bin/ssh``, which knows the server as ``name`` and nothing of the user's own settings."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    (folder / "sshd_config").write_text(
        f"ListenAddress {address}\nHostKey {inside}/host\nAuthorizedKeysFile {inside}/authorized\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
    )
    kind, public, *_ = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"{address} {kind} {public}\n")
    (folder / "config").write_text(
        f"Host {name}\n HostName {address}\n User root\n IdentityFile {folder}/user\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {folder}/known_hosts\n GlobalKnownHostsFile none\n StrictHostKeyChecking yes\n"
    )
    # ssh looks for its settings in the home of the account, whatever HOME says.
    wrapper = folder / "bin/ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    wrapper.chmod(0o755)
