"""Strips of frames show every frame in its place."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from slowfast_finetune.pictures.contact_sheets import GAP, data_uri, strip


def test_frames_lie_side_by_side_in_their_order() -> None:
    frames = np.zeros((3, 40, 60, 3), np.uint8)
    frames[0, ..., 0] = frames[1, ..., 1] = frames[2, ..., 2] = 255
    with Image.open(io.BytesIO(strip(frames, height=20))) as picture:
        # 60×40 at 20 px is 30 wide; three of them and two gaps.
        assert (picture.format, picture.size) == ("JPEG", (3 * 30 + 2 * GAP, 20))
        for index in range(3):
            colour = picture.convert("RGB").getpixel((index * (30 + GAP) + 15, 10))
            assert isinstance(colour, tuple)
            assert np.argmax(colour) == index


def test_frames_are_enlarged_too() -> None:
    with Image.open(io.BytesIO(strip(np.zeros((1, 4, 8, 3), np.uint8), height=16))) as picture:
        assert picture.size == (32, 16)


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (2, 4, 4), (2, 4, 4, 1)])
def test_what_is_no_frames_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected frames"):
        strip(np.zeros(shape, np.uint8), height=16)


def test_a_page_holds_the_very_bytes() -> None:
    head, body = data_uri(b"\xff\xd8jpeg").split(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(body) == b"\xff\xd8jpeg"
