"""What a source snapshot leaves out: machinery that is not source, and files that look like secrets."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch
from typing import Literal

_FOLDERS = frozenset(
    {
        ".git", ".hg", ".svn",
        ".venv", "venv", "node_modules",
        "__pycache__", ".ipynb_checkpoints", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis",
        ".tox", ".nox", ".cache",
    }
)  # fmt: skip
_FILES = ("*.pyc", ".DS_Store")
_SECRET_FOLDERS = frozenset({".aws", ".azure", ".docker", ".gnupg", ".kube", ".ssh"})
_SECRET_FILES = (
    ".env", ".env.*", "*.env", ".envrc",
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk",
    ".netrc", "_netrc", ".pypirc", ".npmrc", ".pgpass", ".my.cnf", ".htpasswd", ".git-credentials", ".dockercfg",
    "credentials", "credentials.json", "client_secret*.json", "service-account*.json", "service_account*.json",
    "kaggle.json", "secrets.json", "secrets.toml", "secrets.yml", "secrets.yaml", "vault.key",
)  # fmt: skip
_NO_SECRETS = (".env.example", ".env.sample", ".env.template", ".env.dist", "example.env", "sample.env")
_LOCK_SUFFIX = ".requirements.lock"

Judgement = Literal["take", "leave", "secret"]


def judge_folder(name: str, inside: Collection[str]) -> Judgement:
    """Whether a folder belongs to the source; ``inside`` are the names of its entries."""
    if name in _SECRET_FOLDERS:
        return "secret"
    # pyvenv.cfg marks a virtual environment whatever it is called (PEP 405).
    return "leave" if name in _FOLDERS or "pyvenv.cfg" in inside else "take"


def judge_file(name: str, beside: Collection[str]) -> Judgement:
    """Whether a file or link belongs to the source; ``beside`` are all names in its folder."""
    lowered = name.lower()
    if any(fnmatch(lowered, pattern) for pattern in _SECRET_FILES) and lowered not in _NO_SECRETS:
        return "secret"
    # A link may stand for such a folder, and .git is a file in a worktree.
    if name in _FOLDERS or any(fnmatch(name, pattern) for pattern in _FILES) or _is_our_lock(name, beside):
        return "leave"
    return "take"


def _is_our_lock(name: str, beside: Collection[str]) -> bool:
    """``STEM.requirements.lock`` beside a notebook ``STEM.*``: it enters the identity only through the image."""
    if not name.endswith(_LOCK_SUFFIX):
        return False
    stem = name.removesuffix(_LOCK_SUFFIX)
    return any(other.rpartition(".")[0] == stem for other in beside)
