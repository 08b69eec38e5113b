"""How alike two pictures look."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

#: From this structural similarity on in every window, a person who is shown one after the other hardly sees a
#: difference: another shade of an edge passes, a dot or a thin line that comes, goes or changes its colour does not.
ALIKE = 0.8
#: Pixels of a larger picture are not unpacked: a few kilobytes can promise gigapixels.
MAX_PIXELS = 8_000_000
_FORMATS = ("PNG", "JPEG", "GIF")
_WINDOW = 8  # pixels
_ROWS = 64  # that are looked at in one piece, so that it fits the processor's cache


def likeness(one: bytes, other: bytes) -> float | None:
    """The structural similarity of two pictures where they are least alike; 1 when all pixels are equal.

    SSIM (Wang, Bovik, Sheikh and Simoncelli, 2004) over windows of 8 pixels, transparent pictures laid on white, of the
    luminance and both differences of colour (YCbCr): the least of all windows, because a mean drowns what is small in
    what is white. None when their sizes differ, or one is no PNG, JPEG or GIF that can be read.
    """
    first, second = _read(one), _read(other)
    if first is None or second is None or first.size != second.size:
        return None
    if first.tobytes() == second.tobytes():
        return 1.0
    # Pictures that differ are never called equal, however little they differ.
    return min(_least(_on_white(first), _on_white(second)), 0.999999)


def pixels(data: bytes) -> int:
    """How many pixels a picture promises; 0 when it is none, or too large to be unpacked."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                count = picture.width * picture.height
                return count if count <= MAX_PIXELS else 0
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError):
        return 0


def difference_picture(one: bytes, other: bytes) -> bytes:
    """A PNG of the first picture, pale, with what differs in red; empty when they cannot be laid on each other."""
    from PIL import Image, ImageChops, ImageFilter

    first, second = _read(one), _read(other)
    if first is None or second is None or first.size != second.size:
        return b""
    bands = ImageChops.difference(first, second).split()
    strongest = bands[0]
    for band in bands[1:]:
        strongest = ImageChops.lighter(strongest, band)
    # The least and the smallest difference must be seen: it begins at half strength, and a dot gets five pixels.
    mask = strongest.point([0, *(min(255, 128 + 4 * value) for value in range(1, 256))]).filter(
        ImageFilter.MaxFilter(5)
    )
    pale = Image.blend(first.convert("L").convert("RGB"), Image.new("RGB", first.size, "white"), 0.75)
    output = io.BytesIO()
    Image.composite(Image.new("RGB", first.size, (207, 34, 46)), pale, mask).save(output, "PNG")
    return output.getvalue()


def _read(data: bytes) -> Image | None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                # Sixteen bits would be clipped to eight, and of several frames only the first be seen.
                if picture.width * picture.height > MAX_PIXELS or getattr(picture, "n_frames", 1) > 1:
                    return None
                if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
                    return None
                return picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError):
        return None


def _on_white(picture: Image) -> Image:
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _least(one: Image, other: Image) -> float:
    """The similarity of the window that is least alike; only windows that hold a pixel that differs can be."""
    import numpy as np
    from PIL import ImageChops

    box = ImageChops.difference(one, other).getbbox()
    if box is None:
        return 1.0
    left, top, right, bottom = box
    margin = _WINDOW - 1
    area = (
        max(left - margin, 0),
        max(top - margin, 0),
        min(right + margin, one.width),
        min(bottom + margin, one.height),
    )
    sides = [np.asarray(picture.crop(area).convert("YCbCr")) for picture in (one, other)]
    least = 1.0
    for start in range(0, max(sides[0].shape[0] - margin, 1), _ROWS):
        rows = slice(start, start + _ROWS + margin)
        for channel in range(3):
            a, b = (side[rows, :, channel].astype(np.float64) for side in sides)
            least = min(least, _similarity(a, b))
    return least


def _similarity(one: Any, other: Any) -> float:
    size = min(_WINDOW, *one.shape)
    small, large = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # the paper's constants

    mean_one, mean_other = _means(one, size), _means(other, size)
    variance_one = _means(one * one, size) - mean_one**2
    variance_other = _means(other * other, size) - mean_other**2
    covariance = _means(one * other, size) - mean_one * mean_other
    top = (2 * mean_one * mean_other + small) * (2 * covariance + large)
    bottom = (mean_one**2 + mean_other**2 + small) * (variance_one + variance_other + large)
    return float((top / bottom).min())


def _means(values: Any, size: int) -> Any:
    """The mean of each window of ``size`` by ``size`` pixels, by way of sums from the corner."""
    import numpy as np

    sums = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    windows = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return windows / size**2
