"""The tree against RFC 6962's own recursive definition and Certificate Transparency's published test vectors."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import merkle

#: certificate-transparency-go, merkletree tests: the leaves that the roots below are of.
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
#: (leaf, tree size, path), as published.
INCLUSION = [
    (0, 1, []),
    (0, 8, [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]),
    (5, 8, [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (1, 5, [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]),
]  # fmt: skip
CONSISTENCY = [
    (1, 1, []),
    (1, 8, [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]),
    (6, 8, [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]),
    (2, 5, [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]),
]  # fmt: skip


def kept(leaves: list[bytes]) -> list[bytes]:
    hashes: list[bytes] = []
    for number, leaf in enumerate(leaves):
        hashes += merkle.grown(number, merkle.leaf_hash(leaf), hashes.__getitem__)
        assert len(hashes) == merkle.kept(number + 1)
    return hashes


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def test_published_roots() -> None:
    read = kept(LEAVES).__getitem__
    assert [merkle.root(size, read).hex() for size in range(1, 9)] == ROOTS
    assert merkle.root(0, read) == merkle.EMPTY


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_published_inclusion_proofs(index: int, size: int, path: list[str]) -> None:
    proof = merkle.inclusion_proof(index, size, kept(LEAVES).__getitem__)
    assert [step.hex() for step in proof] == path
    assert merkle.includes(bytes.fromhex(ROOTS[size - 1]), size, merkle.leaf_hash(LEAVES[index]), index, proof)


@pytest.mark.parametrize(("old", "new", "path"), CONSISTENCY)
def test_published_consistency_proofs(old: int, new: int, path: list[str]) -> None:
    proof = merkle.consistency_proof(old, new, kept(LEAVES).__getitem__)
    assert [step.hex() for step in proof] == path
    assert merkle.extends(bytes.fromhex(ROOTS[old - 1]), old, bytes.fromhex(ROOTS[new - 1]), new, proof)


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=40), st.data())
def test_any_tree(leaves: list[bytes], data: st.DataObject) -> None:
    size = len(leaves)
    read = kept(leaves).__getitem__
    tree = merkle.root(size, read)
    assert tree == mth(leaves)
    index = data.draw(st.integers(0, size - 1))
    leaf = merkle.leaf_hash(leaves[index])
    proof = merkle.inclusion_proof(index, size, read)
    assert merkle.includes(tree, size, leaf, index, proof)
    assert not merkle.includes(tree, size, merkle.leaf_hash(leaves[index] + b"x"), index, proof)
    assert not merkle.includes(tree, size, leaf, index, [*proof, tree])
    assert not proof or not merkle.includes(tree, size, leaf, index, proof[:-1])
    assert not merkle.includes(tree, size, leaf, size, proof)
    old = data.draw(st.integers(1, size))
    before = merkle.root(old, read)
    assert before == mth(leaves[:old])
    growth = merkle.consistency_proof(old, size, read)
    assert merkle.extends(before, old, tree, size, growth)
    assert not merkle.extends(merkle.leaf_hash(b"other"), old, tree, size, growth)
    assert not merkle.extends(before, old, merkle.leaf_hash(b"other"), size, growth)
    assert not merkle.extends(before, old, tree, size, [*growth, tree])


def test_what_cannot_be_proven() -> None:
    read = kept(LEAVES).__getitem__
    for index, size in ((-1, 8), (8, 8), (0, 0)):
        with pytest.raises(ValueError, match="no entry"):
            merkle.inclusion_proof(index, size, read)
    for old, new in ((0, 8), (9, 8)):
        with pytest.raises(ValueError, match="no proof"):
            merkle.consistency_proof(old, new, read)
