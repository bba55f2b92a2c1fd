"""Makes a browser's picture small: a palette of 256 colours is enough for a page."""

import struct
import zlib
from collections import Counter

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}
"""Of the colour types of pictures that browsers make: without and with transparency."""


def small_png(content: bytes) -> bytes:
    """Return a PNG of 8 bits for each pixel that looks the same."""
    chunks = dict(_chunks(content))
    width, height, depth, colour_type = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert depth == 8
    channels = _CHANNELS[colour_type]
    rows = _unfiltered(zlib.decompress(chunks[b"IDAT"]), width * channels, channels)
    pixels = [bytes(row[at : at + 3]) for row in rows for at in range(0, len(row), channels)]
    counted = Counter(pixels)
    palette = [pixel for pixel, _count in counted.most_common(256)]
    number = {pixel: index for index, pixel in enumerate(palette)}
    for pixel in counted.keys() - number.keys():  # rare ones, at the edges of letters
        number[pixel] = min(
            range(len(palette)), key=lambda index, pixel=pixel: _distance(pixel, palette[index])
        )
    data = bytes(number[pixel] for pixel in pixels)
    lines = b"".join(b"\0" + data[at : at + width] for at in range(0, width * height, width))
    return _SIGNATURE + b"".join(
        _chunk(kind, body)
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", b"".join(palette)),
            (b"IDAT", zlib.compress(lines, 9)),
            (b"IEND", b""),
        )
    )


def _distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks by kind; those with the pixels are joined."""
    found: dict[bytes, bytes] = {}
    at = len(_SIGNATURE)
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        kind = content[at + 4 : at + 8]
        found[kind] = found.get(kind, b"") + content[at + 8 : at + 8 + size]
        at += 12 + size
    return list(found.items())


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _unfiltered(data: bytes, size: int, step: int) -> list[bytearray]:
    """Undo the filters of the rows (PNG, section 9)."""
    rows, above = [], bytearray(size)
    for at in range(0, len(data), size + 1):
        kind, row = data[at], bytearray(data[at + 1 : at + 1 + size])
        for i in range(size if kind else 0):
            left = row[i - step] if i >= step else 0
            match kind:
                case 1:
                    guess = left
                case 2:
                    guess = above[i]
                case 3:
                    guess = (left + above[i]) // 2
                case _:
                    guess = _paeth(left, above[i], above[i - step] if i >= step else 0)
            row[i] = row[i] + guess & 0xFF
        rows.append(row)
        above = row
    return rows


def _paeth(left: int, up: int, corner: int) -> int:
    away = [(abs(left + up - corner - value), place) for place, value in enumerate((left, up, corner))]
    return (left, up, corner)[min(away)[1]]
