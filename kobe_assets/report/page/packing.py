"""Numbers and texts packed small enough for a page: whole numbers in byte planes, gzip, and letters that HTML and CSS carry.

A block is a header in JSON and columns of whole numbers; static/unpack.js undoes it. Equal input gives equal text.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.uint32]
_LETTERS = np.frombuffer(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~", dtype=np.uint8
)
"""Those of Python's base64.b85encode, but for `<`."""
GZIP = 31
"""zlib's number for its largest window in a gzip file."""
LARGEST = float(2**30)
"""Beyond this a number does not fit once its sign is folded in; it counts as undefined."""


def pack_block(data: bytes) -> str:
    """A block of `block` as gzip in base 85, without a sign that could open a tag or end a string.

    Its byte planes hold runs of equal bytes, and beyond those hardly a piece twice: to look for runs alone takes half the time
    and packs nearly as small.
    """
    deflate = zlib.compressobj(wbits=GZIP, strategy=zlib.Z_RLE)
    return _letters(deflate.compress(data) + deflate.flush())


def pack_text(text: str) -> str:
    """`text` in UTF-8, gzip and base 85."""
    return _letters(gzip.compress(text.encode("utf-8"), 9, mtime=0))


def _letters(zipped: bytes) -> str:
    """Bytes in base 85, without a sign that could open a tag or end a string."""
    short = -len(zipped) % 4
    left = np.frombuffer(zipped + b"\0" * short, dtype=">u4").astype(np.uint32)
    letters = np.empty((len(left), 5), np.uint8)
    for place in range(4, -1, -1):
        above = left // 85
        letters[:, place] = np.take(_LETTERS, left - above * 85)
        left = above
    text = letters.tobytes()
    return text[: len(text) - short].decode("ascii")


def pack_json(value: Any) -> str:
    """`value` as JSON, packed."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # Half the time of the level of `pack_text`, for half a percent more letters.
    return _letters(gzip.compress(text.encode("utf-8"), 6, mtime=0))


def block(header: Mapping[str, Any], columns: Iterable[Numbers]) -> bytes:
    """A header and columns one after the other, each as its lowest bytes, then the next ones, and so on.

    Bytes of one place look alike, so gzip finds more in them than in whole numbers.
    """
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    planes = (np.ascontiguousarray(column.astype("<u4").view(np.uint8).reshape(-1, 4).T).tobytes() for column in columns)
    return b"".join((struct.pack("<I", len(text)), text, *planes))


def folded(values: Any, scale: float = 1.0) -> Numbers:
    """Values times `scale` as whole numbers above 0 with the sign in the lowest bit; 0 where undefined or too large."""
    scaled = np.rint(np.asarray(values, dtype=float) * scale)
    known = np.isfinite(scaled) & (np.abs(scaled) < LARGEST)
    whole = np.where(known, scaled, 0.0).astype(np.int64)
    signed = (whole << 1) ^ (whole >> 63)
    return np.where(known, signed + 1, 0).astype(np.uint32)


def steps(values: Any, scale: Any = 1.0, begins: Any = ()) -> Numbers:
    """Defined values as `folded` distances from the defined one before; 0 where undefined.

    begins: ascending places from which there is none before.
    """
    scaled = np.rint(np.asarray(values, dtype=float) * scale)
    known = np.flatnonzero(np.isfinite(scaled))
    defined = scaled[known]
    distance = np.diff(defined, prepend=0.0)
    fresh = np.searchsorted(known, begins) if len(begins) else np.empty(0, np.int64)
    fresh = fresh[fresh < len(known)]
    distance[fresh] = defined[fresh]
    packed = np.zeros(len(scaled), dtype=np.uint32)
    packed[known] = folded(distance)
    return packed
