"""Small files that become gigabytes when they are unpacked, made without having those gigabytes."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np

CHUNK = 2**24


@cache
def deflated(
    num_chunks: int, byte: bytes = b"\0", checksum: Callable[[bytes, int], int] = zlib.crc32
) -> tuple[bytes, int]:
    """So many times 16 MB of one byte as a raw stream of deflate, and its checksum."""
    packer, chunk = zlib.compressobj(9, zlib.DEFLATED, -15), byte * CHUNK
    begin = packer.compress(chunk) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(chunk) + packer.flush(zlib.Z_FULL_FLUSH)
    end, found = packer.flush(), 1 if checksum is zlib.adler32 else 0
    for _ in range(num_chunks):
        found = checksum(chunk, found)
    return begin + again * (num_chunks - 1) + end, found


def zlib_stream(num_bytes: int, byte: bytes = b"\0") -> bytes:
    """At least so many bytes, as PNG packs them."""
    data, checksum = deflated(-(-num_bytes // CHUNK), byte, zlib.adler32)
    return b"\x78\xda" + data + struct.pack(">I", checksum)


def gzip(num_chunks: int = 128, byte: bytes = b"a") -> bytes:
    """2 GB of one letter in 2 MB."""
    data, checksum = deflated(num_chunks, byte)
    size = num_chunks * CHUNK % 2**32
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + data + struct.pack("<II", checksum, size)


def npz(name: str, shape: tuple[int, ...], dtype: str = "<f4", num_chunks: int = 192) -> bytes:
    """An archive whose array is 3 GB of zeros."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    header = head.getvalue()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    begin = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH)
    data, _ = deflated(num_chunks)
    return _zip(
        f"{name}.npy", begin + data, zlib.crc32(b"\0" * CHUNK, zlib.crc32(header)), len(header) + num_chunks * CHUNK
    )


def _zip(name: str, data: bytes, checksum: int, size: int) -> bytes:
    """One record; a checksum that does not fit is found at the end alone, when everything is unpacked."""
    fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, checksum, len(data), size, len(name), 0)
    local = b"PK\x03\x04" + fields + name.encode()
    central = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
    start = len(local) + len(data)
    return local + data + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), start, 0)


def png(width: int, height: int, colour: int = 6) -> bytes:
    """A picture of one colour in a few hundred kB: 6 is RGBA, 0 is grey."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    num_bytes = height * (1 + width * channels)
    data = zlib_stream(num_bytes)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def text_chunk_png() -> bytes:
    """A picture whose compressed text is 2 GB."""
    small = png(8, 8, 0)
    content = b"Comment\0\0" + zlib_stream(2**31, b"a")
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    return small[:33] + chunk + small[33:]


def zip_of(names: dict[str, bytes]) -> bytes:
    """An archive of records, whatever their names."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return made.getvalue()
