"""Images in folders and in arrays."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from fuzzing import bombs
from fuzzing.case import Case, Files, Read, batches
from fuzzing.tables import labels_table

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (24, 20, 3), dtype=np.uint8)


@cache
def corpus() -> Files:
    made: Files = {}

    def save(name: str, image: Image.Image, **options: Any) -> None:
        file = io.BytesIO()
        image.save(file, **options)
        made[name] = file.getvalue()

    picture = Image.fromarray(PIXELS)
    about = PngImagePlugin.PngInfo()
    about.add_text("a", "b" * 200, zip=True)
    about.add_itxt("c", "d", zip=True)
    save("a.png", picture, format="PNG", pnginfo=about)
    save("b.png", picture.convert("P"), format="PNG", transparency=3)
    save("c.png", picture.convert("RGBA"), format="PNG")
    save("d.png", Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), format="PNG")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 40
    save("a.jpg", picture, format="JPEG", exif=exif)
    save("b.jpg", picture.convert("CMYK"), format="JPEG", progressive=True)
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"):
        save(
            f"{compression}.tif",
            picture.convert("1") if compression == "group4" else picture,
            format="TIFF",
            compression=compression,
        )
    save("pages.tif", picture, format="TIFF", save_all=True, append_images=[picture] * 3)
    save("a.gif", picture.convert("P"), format="GIF", save_all=True, append_images=[picture.convert("P")] * 3)
    save("a.webp", picture, format="WEBP", exif=exif)
    save("b.webp", picture, format="WEBP", save_all=True, append_images=[picture] * 2, lossless=True)
    save("a.bmp", picture, format="BMP")
    save("b.bmp", picture.convert("P"), format="BMP")
    save("a.avif", picture, format="AVIF")
    import pillow_heif
    import tifffile

    pillow_heif.register_heif_opener()
    save("a.heic", picture, format="HEIF")
    for name, options in (("t.tif", {"tile": (16, 16), "compression": "zlib"}), ("f.tif", {"bigtiff": True})):
        file = io.BytesIO()
        tifffile.imwrite(file, PIXELS.astype(np.float32) if name == "f.tif" else PIXELS, **options)
        made[name] = file.getvalue()
    for name, array in (
        ("a.npy", PIXELS),
        ("b.npy", RNG.random((3, 16, 16)).astype(np.float32)),
        ("c.npy", PIXELS > 9),
    ):
        file = io.BytesIO()
        np.save(file, array)
        made[name] = file.getvalue()
    return made


def lies(case: Case) -> tuple[str, bytes]:
    """Files made to be too large, to hold no number, or to be another kind than they say."""
    nothing = io.BytesIO()
    np.save(nothing, np.full((16, 16, 3), case.rng.choice((np.nan, np.inf)), np.float32))
    huge = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2000000000, 2000000000)}".ljust(117)
        + b"\n"
    )
    objects = io.BytesIO()
    np.save(objects, np.array([[_Payload(case)]], dtype=object), allow_pickle=True)
    page = corpus()["pages.tif"]
    made = {
        "big.png": lambda: bombs.png(14_000, 14_000),
        "wide.png": lambda: bombs.png(2**31 - 1, 1, 0),
        "grey.png": lambda: bombs.png(60_000, 60_000, 0),
        "long.png": lambda: bombs.png(1, 199_000_000, 0),
        "text.png": bombs.text_chunk_png,
        "nan.npy": nothing.getvalue,
        "huge.npy": lambda: huge,
        "objects.npy": objects.getvalue,
        "loop.tif": lambda: page[:4] + page[4:8] + page[8:-4] + page[4:8],  # the next page is the first one
        "svg.png": lambda: b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
        "eps.png": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch x) system\nshowpage\n",
    }
    name = case.rng.choice(sorted(made))
    return name, made[name]()


class _Payload:
    """A pickle of this leaves a file where nothing may be written."""

    def __init__(self, case: Case) -> None:
        self.path = str(case.folder / "outside" / "canary")

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def image_folder(case: Case) -> Read:
    from unmask_vision.data import ImageFolderData

    case.spoil(corpus())
    if case.chance(0.08):
        case.write("a/{}{}".format(*lies(case)[:1], ""), b"") if case.chance(0.1) else case.write(
            *_under("a/", lies(case))
        )
    options: dict[str, Any] = {"labels": case.rng.choice((None, "folder"))}
    if case.chance(0.1):
        options = labels_table(case)
    options["channels"] = case.rng.choice((3, 3, 1, 4, 2))
    return lambda: batches(ImageFolderData(str(case.data), image_size=16, batch_size=2, num_workers=0, **options))


def _under(folder: str, file: tuple[str, bytes]) -> tuple[str, bytes]:
    return folder + file[0], file[1]


def image_arrays(case: Case) -> Read:
    from unmask_vision.data import ArraysData

    choice = case.rng.randrange(10)
    images = RNG.integers(0, 255, (12, 8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    name, options = "images.npz", {}
    if choice == 0:
        content, options = bombs.npz("images", (256, 1024, 1024, 3)), {"image_key": "images"}
    elif choice == 1:
        np.savez(file, images=np.array([_Payload(case)] * 4, dtype=object), label=np.arange(4))
        content, options = file.getvalue(), {"image_key": "images"}
    elif choice < 4:
        np.save(file, images)
        name, content = "images.npy", case.spoilt(file.getvalue())
    else:
        np.savez_compressed(file, images=images, label=np.arange(12) % 3, other=images)
        content, options = case.spoilt(file.getvalue()), {"image_key": "images", "label_key": "label"}
    path = case.write(name, content)
    if case.chance(0.2) and "label_key" not in options:
        labels = io.BytesIO()
        np.save(
            labels, case.rng.choice((np.arange(12), np.full(12, np.nan), np.arange(12) * 10**8, np.array(["a"] * 12)))
        )
        options = options | {"labels": str(case.write("labels.npy", case.spoilt(labels.getvalue())))}
    return lambda: batches(ArraysData(str(path), image_size=8, batch_size=2, num_workers=0, **options))


KINDS = {"images": image_folder, "image arrays": image_arrays}
