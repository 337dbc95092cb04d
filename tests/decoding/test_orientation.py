"""The shape of decoded pictures: pixels that are not square, sizes that change, fitting."""

from __future__ import annotations

import pytest

from slowfast_finetune.decoding.orientation import fitted_size, scaled_size

# Sizes


@pytest.mark.parametrize(
    ("width", "height", "short_side", "expected"),
    [
        (1920, 1080, 256, (455, 256)),  # 455.1
        (1080, 1920, 256, (256, 455)),
        (640, 360, 128, (228, 128)),  # 227.6
        (360, 640, 128, (128, 228)),
        (64, 48, 48, (64, 48)),
        (64, 48, 96, (128, 96)),
        (50, 50, 256, (256, 256)),
        (161, 121, 64, (85, 64)),  # 85.2
    ],
)
def test_scaled_size_keeps_the_ratio(
    width: int, height: int, short_side: int, expected: tuple[int, int]
) -> None:
    assert scaled_size(width, height, short_side=short_side) == expected


def test_without_a_short_side_the_size_stays() -> None:
    assert scaled_size(1024, 576, short_side=None) == (1024, 576)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (64, 48, (64, 48)),
        (128, 96, (64, 48)),
        (32, 24, (64, 48)),
        (100, 100, (48, 48)),
        (128, 48, (64, 24)),  # half as large
        (48, 96, (24, 48)),
        (10, 480, (1, 48)),
        (1, 1000, (1, 48)),  # 0.05 px, and one at least
        # 64×47.3: the shape of 64×48, rounded.
        (65, 48, (64, 48)),
        # 64×45.2 is another.
        (68, 48, (64, 45)),
    ],
)
def test_a_picture_is_fitted_into_a_room_of_64_by_48(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    assert fitted_size(width, height, room=(64, 48)) == expected
