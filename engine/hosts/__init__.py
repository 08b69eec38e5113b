"""The machines that runs can go to: their names and addresses, and the way there."""

from engine.hosts.address import Address, parse_address
from engine.hosts.registry import (
    LOCAL,
    Host,
    Hosts,
    add,
    check_certificates,
    find,
    group,
    read,
    remove,
    resolve,
    set_default,
)
from engine.hosts.tunnel import Tunnel

__all__ = [
    "LOCAL",
    "Address",
    "Host",
    "Hosts",
    "Tunnel",
    "add",
    "check_certificates",
    "find",
    "group",
    "parse_address",
    "read",
    "remove",
    "resolve",
    "set_default",
]
