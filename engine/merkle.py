"""The Merkle tree of RFC 6962, section 2.1, over hashes that are kept in the order in which they become known.

That order is the one of Go's ``golang.org/x/mod/sumdb/tlog``: each leaf is followed by the hashes of the complete
subtrees that it closes. So the list only ever grows at its end, an append reads and writes a logarithm of it, and
proofs need nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

#: What the tree of no leaves has as its hash.
EMPTY = hashlib.sha256(b"").digest()
SIZE = 32

#: Reads the kept hash at a place of the list.
Read = Callable[[int], bytes]


def leaf_hash(data: bytes) -> bytes:
    """The hash of an entry."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\1" + left + right).digest()


def place(level: int, number: int) -> int:
    """Where the list holds the hash of the ``number``-th complete subtree of 2**level leaves."""
    number = ((number + 1) << level) - 1  # its last leaf
    before = 0
    while number:
        before += number
        number >>= 1
    return before + level


def kept(leaves: int) -> int:
    """How many hashes the list holds for so many leaves."""
    count = 0
    while leaves:
        count += leaves
        leaves >>= 1
    return count


def grown(leaves: int, leaf: bytes, read: Read) -> list[bytes]:
    """What to add to the list of a tree of so many leaves when one more comes."""
    added = [leaf]
    level = 0
    while leaves >> level & 1:
        added.append(node_hash(read(place(level, (leaves >> level) - 1)), added[-1]))
        level += 1
    return added


def root(leaves: int, read: Read) -> bytes:
    """The hash of the tree of the first ``leaves`` entries."""
    return _range(0, leaves, read) if leaves else EMPTY


def inclusion_proof(index: int, leaves: int, read: Read) -> list[bytes]:
    """PATH(index, D[leaves]): proves that an entry is in a tree."""
    if not 0 <= index < leaves:
        raise ValueError(f"no entry {index} in a tree of {leaves}")
    path = []
    start, end = 0, leaves
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range(middle, end, read))
            end = middle
        else:
            path.append(_range(start, middle, read))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, read: Read) -> list[bytes]:
    """PROOF(old, D[new]): proves that a tree grew out of a smaller one at its end only."""
    if not 0 < old <= new:
        raise ValueError(f"no proof from {old} to {new} entries")
    path = []
    start, end = 0, new
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range(middle, end, read))
            end = middle
        else:
            path.append(_range(start, middle, read))
            start = middle
    return ([_range(start, end, read)] if start else []) + path[::-1]


def includes(tree: bytes, leaves: int, leaf: bytes, index: int, proof: Sequence[bytes]) -> bool:
    """Whether an inclusion proof holds (RFC 9162, 2.1.3.2, which says the checking that RFC 6962 leaves open)."""
    if not 0 <= index < leaves:
        return False
    last = leaves - 1
    result = leaf
    for step in proof:
        if last == 0:
            return False
        if index & 1 or index == last:
            result = node_hash(step, result)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            result = node_hash(result, step)
        index >>= 1
        last >>= 1
    return last == 0 and result == tree


def extends(old_tree: bytes, old: int, new_tree: bytes, new: int, proof: Sequence[bytes]) -> bool:
    """Whether a consistency proof holds (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_tree == new_tree
    path = [old_tree, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    first, second = old - 1, new - 1
    while first & 1:
        first >>= 1
        second >>= 1
    was = now = path[0]
    for step in path[1:]:
        if second == 0:
            return False
        if first & 1 or first == second:
            was, now = node_hash(step, was), node_hash(step, now)
            while not first & 1 and first:
                first >>= 1
                second >>= 1
        else:
            now = node_hash(now, step)
        first >>= 1
        second >>= 1
    return second == 0 and was == old_tree and now == new_tree


def _split(size: int) -> int:
    """The largest power of two that is smaller than ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _range(start: int, end: int, read: Read) -> bytes:
    """The hash of the entries from ``start``, which is a multiple of every power of two that fits in the range."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return read(place(level, start >> level))
    middle = start + _split(size)
    return node_hash(_range(start, middle, read), _range(middle, end, read))
