"""Words on pictures, in a font that has their letters."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# Where systems keep fonts that know many scripts, the widest first.
SYSTEM_FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/System/Library/Fonts/PingFang.ttc",
    "/Library/Fonts/Arial Unicode.ttf",
)
NOWHERE = "\U0010ffff"  # no font has it: what is drawn like it is missing


@functools.cache
def font_for(text: str, size: int) -> FreeTypeFont | None:
    """The font that comes with Pillow, or one of the system's, with all letters of ``text``."""
    from PIL import ImageFont

    built_in = ImageFont.load_default(size)
    fonts = [built_in] if isinstance(built_in, ImageFont.FreeTypeFont) else []
    fonts += [ImageFont.truetype(path, size) for path in SYSTEM_FONTS if Path(path).is_file()]
    return next((font for font in fonts if _has_all(font, text)), None)


def _has_all(font: FreeTypeFont, text: str) -> bool:
    missing = _shape(font, NOWHERE)
    return all(letter.isspace() or _shape(font, letter) != missing for letter in set(text))


def _shape(font: FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
