"""The host's package index settings, with pip's meaning, for uv and for pip.

pip's own files and ``PIP_*`` are read as pip reads them (pip documentation, "Configuration"); uv reads
neither, so they are translated. ``UV_*`` joins them. What is read here reaches uv and pip by their
environment only, so that credentials stand in no argument list, lock, image or record.
"""

from __future__ import annotations

import configparser
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from engine.errors import BadInput

PYPI = "https://pypi.org/simple"
#: Of all ``UV_*`` only these pass through: the rest changes what is chosen (UV_RESOLUTION, UV_PRERELEASE, ...).
_UV_KEPT = re.compile(
    r"UV_(CACHE_DIR|NO_CACHE|CONCURRENT_\w+|HTTP_TIMEOUT|REQUEST_TIMEOUT|HTTP_RETRIES|OFFLINE|KEYRING_PROVIDER)"
)
#: Longer spellings that pip accepts for the same option.
_ALIASES = {"default-timeout": "timeout", "pypi-url": "index-url"}
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]+@")


@dataclass(frozen=True)
class Indexes:
    """Where distributions come from. Addresses may hold credentials: never show or keep them, see ``redact``."""

    index_url: str = field(default=PYPI, repr=False)
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    no_index: bool = False
    certificates: str = ""  # a file of CA certificates, or a folder of them
    client_certificate: str = ""
    trusted_hosts: tuple[str, ...] = ()
    proxy: str = field(default="", repr=False)
    timeout: float | None = None
    retries: int | None = None
    keyring: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All indexes in the order in which pip asks them; none when ``no_index``."""
        return () if self.no_index else (self.index_url, *self.extra_index_urls)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of this machine among the indexes and find-links."""
        return tuple(_local(url) for url in (*self.addresses, *self.find_links) if url.startswith("file:"))

    def without_folders(self) -> Indexes:
        """The same without what lies on this machine: pip never knows an upload date there."""
        remote = tuple(url for url in self.addresses if not url.startswith("file:"))
        return replace(
            self,
            no_index=not remote,
            index_url=remote[0] if remote else PYPI,
            extra_index_urls=remote[1:],
            find_links=tuple(url for url in self.find_links if not url.startswith("file:")),
        )

    def uv_arguments(self) -> list[str]:
        """What uv takes by argument only. pip knows one pool of files, hence ``unsafe-best-match``."""
        return ["--no-config", "--index-strategy", "unsafe-best-match", *(["--no-index"] if self.no_index else [])]

    def uv_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment for uv: the caller's, less what would change a resolution, with these settings."""
        result = {
            name: value
            for name, value in environment.items()
            if not name.startswith(("UV_", "PIP_")) or _UV_KEPT.fullmatch(name)
        }
        result["UV_PYTHON_DOWNLOADS"] = "never"
        if not self.no_index:
            result["UV_DEFAULT_INDEX"] = self.index_url
            if self.extra_index_urls:
                result["UV_INDEX"] = " ".join(self.extra_index_urls)
        if self.find_links:
            result["UV_FIND_LINKS"] = ",".join(url.replace(",", "%2C") for url in self.find_links)
        if self.certificates:
            if self.certificates != environment.get("SSL_CERT_FILE"):
                result.pop("SSL_CERT_DIR", None)  # a bundle of pip's is all that pip trusts
                result.pop("SSL_CERT_FILE", None)
            result["SSL_CERT_DIR" if Path(self.certificates).is_dir() else "SSL_CERT_FILE"] = self.certificates
        else:
            result["UV_SYSTEM_CERTS"] = "true"  # as pip does; uv would trust only the list that it carries
        if self.client_certificate:
            result["SSL_CLIENT_CERT"] = self.client_certificate
        if self.trusted_hosts:
            result["UV_INSECURE_HOST"] = " ".join(self.trusted_hosts)
        if self.proxy:
            # pip asks nothing else once --proxy is given, NO_PROXY neither.
            result = {name: value for name, value in result.items() if not name.lower().endswith("_proxy")}
            result |= {"HTTP_PROXY": self.proxy, "HTTPS_PROXY": self.proxy, "ALL_PROXY": self.proxy}
        if self.timeout is not None:
            result["UV_HTTP_TIMEOUT"] = str(max(1, math.ceil(self.timeout)))
        if self.retries is not None:
            result["UV_HTTP_RETRIES"] = str(self.retries)
        if self.keyring in ("subprocess", "import", "auto"):
            result["UV_KEYRING_PROVIDER"] = "subprocess"
        return result

    def pip_settings(self) -> dict[str, str]:
        """These settings as ``PIP_*``. pip's files are left out, so that nothing else in them steers our use of pip."""
        result = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "PIP_NO_COLOR": "1",
        }
        if self.no_index:
            result["PIP_NO_INDEX"] = "1"
        else:
            result["PIP_INDEX_URL"] = self.index_url
        lists = {
            "PIP_EXTRA_INDEX_URL": () if self.no_index else self.extra_index_urls,
            "PIP_FIND_LINKS": self.find_links,
            "PIP_TRUSTED_HOST": self.trusted_hosts,
        }
        result |= {name: " ".join(values) for name, values in lists.items() if values}
        single = {
            "PIP_CERT": self.certificates,
            "PIP_CLIENT_CERT": self.client_certificate,
            "PIP_PROXY": self.proxy,
            "PIP_TIMEOUT": "" if self.timeout is None else f"{self.timeout:g}",
            "PIP_RETRIES": "" if self.retries is None else str(self.retries),
            "PIP_KEYRING_PROVIDER": self.keyring,
        }
        return result | {name: value for name, value in single.items() if value}

    def pip_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment for pip on this machine: the caller's with these settings in place of its ``PIP_*``."""
        kept = ("PIP_CACHE_DIR", "PIP_NO_CACHE_DIR")
        rest = {
            name: text for name, text in environment.items() if not name.startswith(("UV_", "PIP_")) or name in kept
        }
        return rest | self.pip_settings()


def read_indexes(environment: Mapping[str, str], prefix: Path = Path(sys.prefix)) -> Indexes:
    """The settings that ``pip install`` of the Python environment at ``prefix`` would use, joined by uv's variables.

    Sections ``[global]``, ``[download]``, ``[install]``, then the environment, each stronger than the one
    before; within a section global, user, site and ``PIP_CONFIG_FILE``, in that order. ``UV_DEFAULT_INDEX``
    replaces the index; ``UV_INDEX``, ``UV_EXTRA_INDEX_URL`` and ``UV_FIND_LINKS`` add to the lists.
    Raises BadInput for a file or a value that pip would refuse too.
    """
    options = _pip_options(environment, prefix)
    named = [_uv_index(item, environment) for item in environment.get("UV_INDEX", "").split()]
    default = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL")
    extra = [*named, *environment.get("UV_EXTRA_INDEX_URL", "").split(), *options.get("extra-index-url", "").split()]
    links = [*re.split(r"[,\s]+", environment.get("UV_FIND_LINKS", "")), *options.get("find-links", "").split()]
    hosts = [*environment.get("UV_INSECURE_HOST", "").split(), *options.get("trusted-host", "").split()]
    bundle = next(
        (
            environment[name]
            for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
            if environment.get(name)
        ),
        "",
    )
    return Indexes(
        index_url=_uv_index(default, environment)
        if default
        else _address(options.get("index-url") or PYPI, environment),
        extra_index_urls=_unique(_address(url, environment) for url in extra),
        find_links=_unique(_address(url, environment) for url in links if url),
        no_index=_boolean("no-index", options.get("no-index", "")),
        certificates=_path(options.get("cert") or bundle, environment),
        client_certificate=_path(options.get("client-cert") or environment.get("SSL_CLIENT_CERT", ""), environment),
        trusted_hosts=_unique(iter(hosts)),
        proxy=options.get("proxy", ""),
        timeout=_number("timeout", options.get("timeout", "")),
        retries=None if (retries := _number("retries", options.get("retries", ""))) is None else int(retries),
        keyring=options.get("keyring-provider", ""),
    )


def redact(text: str) -> str:
    """``text`` without the credentials of any address in it."""
    return _CREDENTIALS.sub("", text)


def _pip_options(environment: Mapping[str, str], prefix: Path) -> dict[str, str]:
    sections: dict[str, dict[str, str]] = {"global": {}, "download": {}, "install": {}}
    for path in _pip_files(environment, prefix):
        for section, values in _read_file(path).items():
            if section in sections:
                sections[section].update(values)
    variables = {
        _option(name.removeprefix("PIP_")): value for name, value in environment.items() if name.startswith("PIP_")
    }
    merged: dict[str, str] = {}
    for values in (*sections.values(), variables):
        merged.update({name: value for name, value in values.items() if value})
    return merged


def _pip_files(environment: Mapping[str, str], prefix: Path) -> Iterator[Path]:
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    home = Path(environment.get("HOME") or Path.home())
    for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        yield Path(folder) / "pip/pip.conf"
    yield Path("/etc/pip.conf")
    if not (named and Path(named).exists()):  # pip: a file that is named stands in for the user's
        yield home / ".pip/pip.conf"
        yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"
    yield prefix / "pip.conf"
    if named:
        yield Path(named)


def _read_file(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    parser.optionxform = _option  # type: ignore[assignment, method-assign]
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise BadInput(f"pip's settings in {path} cannot be read: {type(error).__name__}.", "Mend the file.") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _option(name: str) -> str:
    name = name.lower().replace("_", "-").removeprefix("--")
    return _ALIASES.get(name, name)


def _uv_index(item: str, environment: Mapping[str, str]) -> str:
    """``URL`` or ``name=URL``; the user and password of a named index stand in variables of its own (uv)."""
    name, separator, url = item.partition("=")
    if not separator or not re.fullmatch(r"[\w.-]+", name):
        return _address(item, environment)
    variable = "UV_INDEX_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    user, password = environment.get(f"{variable}_USERNAME", ""), environment.get(f"{variable}_PASSWORD", "")
    parts = urlsplit(_address(url, environment))
    if (user or password) and "@" not in parts.netloc:
        parts = parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}")
    return urlunsplit(parts)


def _address(text: str, environment: Mapping[str, str]) -> str:
    """A URL; a path of this machine becomes a ``file:`` URL, without blanks, which separate addresses."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", text):
        return text
    return Path(_path(text, environment)).as_uri()


def _path(text: str, environment: Mapping[str, str]) -> str:
    if not text:
        return ""
    if text == "~" or text.startswith("~/"):
        text = (environment.get("HOME") or str(Path.home())) + text[1:]
    return os.path.abspath(text)  # noqa: PTH100  a link stays a link


def _local(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _boolean(name: str, text: str) -> bool:
    if text.lower() in ("", "n", "no", "f", "false", "off", "0"):
        return False
    if text.lower() in ("y", "yes", "t", "true", "on", "1"):
        return True
    raise BadInput(f"pip's setting {name} is neither yes nor no: {text[:40]!r}.", "Mend pip's settings.")


def _number(name: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise BadInput(f"pip's setting {name} is not a number: {text[:40]!r}.", "Mend pip's settings.") from None


def _unique(items: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
