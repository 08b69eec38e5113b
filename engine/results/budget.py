"""What one comparison may cost, however much two hostile runs have left behind."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BYTES = 256 << 20
MAX_PIXELS = 200_000_000
#: Said of a unit for which nothing was left.
BEYOND = f"this comparison has looked at {MAX_BYTES >> 20} MiB or {MAX_PIXELS:,} pixels before"


@dataclass
class Budget:
    """Bytes, or characters, and pixels that may still be looked at; who asks for more than is left gets none."""

    bytes_left: int = MAX_BYTES
    pixels_left: int = MAX_PIXELS
    refused: int = 0  # how often somebody asked for more

    def read(self, count: int) -> bool:
        """Whether so many more bytes may be looked at; then they count as used."""
        if count > self.bytes_left:
            self.refused += 1
            return False
        self.bytes_left -= count
        return True

    def unpack(self, count: int) -> bool:
        """The same for the pixels of pictures."""
        if count > self.pixels_left:
            self.refused += 1
            return False
        self.pixels_left -= count
        return True
