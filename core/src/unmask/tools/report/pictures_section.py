"""Pictures of a run inside the page: as they are while they are small, else as a JPEG that is."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from unmask.tools.report.markup import Markup, element

TOTAL_BYTES = 6_000_000
"""What all pictures of a page may take, before base64 makes them a third larger."""
LARGEST_BYTES = 800_000
"""What one picture may take."""
WIDTHS = (2400, 1600, 1200, 800, 500)
"""Widths to try for a picture that takes too much, in its own pixels."""


def figures(pictures: list[tuple[str, Path]], budget: int, alone: bool = True) -> Markup:
    """All pictures of a run, one beside the other.

    Args:
        pictures: caption and file.
        budget: bytes that all of them may take together.
        alone: over the whole width of the page.
    """
    each = min(LARGEST_BYTES, budget // max(len(pictures), 1))
    return element(
        "div",
        [_figure(caption, path, each) for caption, path in pictures],
        class_="pictures alone" if alone else "pictures",
    )


def _figure(caption: str, path: Path, most: int) -> Markup:
    try:
        kind, data, (width, height), note = _encoded(path, most)
    except (OSError, SyntaxError):  # Pillow's, of files that are cut off or no picture
        return element("p", f"{path.name} cannot be shown: it is no picture, or only a part of one.", class_="missing")
    except ValueError as error:
        return element("p", f"{path.name} is not shown: {error}.", class_="missing")
    address = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    picture = element("img", src=address, width=width, height=height, alt=f"{caption}: {path.stem}")
    shown = element("button", picture, type="button", title="Larger or smaller", aria_expanded="false")
    return element(
        "figure", shown, element("figcaption", caption, element("span", note, class_="note") if note else None)
    )


def _encoded(path: Path, most: int) -> tuple[str, bytes, tuple[int, int], str]:
    """Kind, bytes, size and a note of what was done."""
    from PIL import Image

    data = path.read_bytes()
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "WEBP")) as opened:  # none that starts a program
        opened.load()  # finds out whether the file is whole
        size = opened.size
        if len(data) <= most and opened.format == "PNG":
            return "png", data, size, ""
        flat = Image.new("RGB", size, "white")
        flat.paste(opened, mask=opened.convert("RGBA").getchannel("A"))
    for width in WIDTHS:
        if width > size[0] and width != WIDTHS[-1]:
            continue
        smaller = flat.copy()
        smaller.thumbnail((width, 4 * width))
        written = io.BytesIO()
        smaller.save(written, "JPEG", quality=85, optimize=True)
        if written.tell() <= most:
            break
    if written.tell() > most:
        raise ValueError(f"it takes more than {most // 1000:,} kB even at {smaller.width} x {smaller.height}")
    shrunk = f" of {size[0]} x {size[1]}" if smaller.size != size else ""
    return "jpeg", written.getvalue(), smaller.size, f"made smaller: JPEG, {smaller.width} x {smaller.height}{shrunk}"
