"""``python3 noexecstack.py FILE``: say in an ELF library that it needs no executable stack.

tcc writes no program header PT_GNU_STACK, and without one ld.so(8) makes the stack of the process executable that
loads the library. The table of headers is written anew, at the end of the file, with that one more (ELF-64 object
file format 1.5; Linux Standard Base 5.0, "Program Header").
"""

import struct
import sys
from pathlib import Path

PT_GNU_STACK, READ_WRITE = 0x6474E551, 6
HEADER = struct.Struct("<IIQQQQQQ")

path = Path(sys.argv[1])
elf = bytearray(path.read_bytes())
elf += bytes(-len(elf) % 8)
(start,) = struct.unpack_from("<Q", elf, 32)  # e_phoff
(count,) = struct.unpack_from("<H", elf, 56)  # e_phnum
table = elf[start : start + HEADER.size * count] + HEADER.pack(PT_GNU_STACK, READ_WRITE, 0, 0, 0, 0, 0, 16)
struct.pack_into("<Q", elf, 32, len(elf))
struct.pack_into("<H", elf, 56, count + 1)
path.write_bytes(elf + table)
