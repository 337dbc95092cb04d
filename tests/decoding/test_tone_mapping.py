"""HDR to SDR, against values of the ITU's recommendations and of a pocket calculator."""

from __future__ import annotations

import numpy as np
import pytest

from slowfast_finetune.decoding.tone_mapping import (
    HdrTransfer,
    compress,
    hlg_to_scene,
    light_to_pq,
    pq_to_light,
    tone_map,
)


@pytest.mark.parametrize(
    ("light", "signal"),
    [
        (0.1, 0.0623),
        (1, 0.1499),
        # BT.2408, table 1: 18 % grey is 26 cd/m² and 38 %, white 203 cd/m² and 58 %.
        (26, 0.3800),
        (203, 0.5807),
        # The usual points of ST 2084: 100 cd/m² at 50.8 %, 1000 at 75.2 %, 10000 at 100 %.
        (100, 0.5081),
        (1000, 0.7518),
        (10000, 1.0),
    ],
)
def test_pq(light: float, signal: float) -> None:
    assert light_to_pq(np.array(light)) == pytest.approx(signal, abs=1e-4)
    assert pq_to_light(np.array(signal)) == pytest.approx(light, rel=2e-3)


@pytest.mark.parametrize(
    ("signal", "scene"),
    [
        # BT.2100, table 5: the two branches meet at 1/2, which stands for 1/12.
        (0, 0),
        (0.1, 0.01 / 3),
        (0.5, 1 / 12),
        # BT.2408: white is 75 %; 0.26496 of the scene, which to the power of 1.2 is 0.203.
        (0.75, 0.26496),
        (1, 1),
    ],
)
def test_hlg(signal: float, scene: float) -> None:
    assert hlg_to_scene(np.array(signal)) == pytest.approx(scene, abs=1e-5)


@pytest.mark.parametrize(
    ("light", "shown"),
    [
        # BT.2390, 5.4.1: the curve begins at KS = 1.5 · 0.58069 / 0.75183 - 0.5 = 0.65856 of the
        # peak's signal, 0.49512, which stands for 87.8 cd/m². Below, nothing is changed.
        (0, 0),
        (1, 1),
        (50, 50),
        (87, 87),
        # 203: E1 = 0.77237, T = (0.77237 - 0.65856) / 0.34144 = 1/3; the cubic gives
        # 0.74074 · 0.65856 + 0.14815 · 0.34144 + 0.25926 · 0.77237 = 0.73865, signal 0.55534.
        (203, 159.04),
        (400, 193.61),
        (1000, 203),
    ],
)
def test_highlights_are_rolled_off(light: float, shown: float) -> None:
    assert compress(np.array(float(light))) == pytest.approx(shown, abs=0.01)


@pytest.mark.parametrize(
    ("transfer", "code", "expected"),
    [
        ("pq", 0, 0),
        # 1 cd/m² of 203: 255 · (1/203)^(1/2.4) = 27.9
        ("pq", 9827, 28),
        ("pq", 24905, 108),  # 26 cd/m²: 108.3
        ("pq", 28854, 142),  # 50 cd/m²: 142.2
        ("pq", 38055, 230),  # 203, shown as 159.04: 230.3
        ("pq", 49271, 255),  # 1000, shown as 203
        ("pq", 65535, 255),  # 10000
        ("hlg", 0, 0),
        # 10 %: the scene's 0.00333 to the power of 1.2 is 1.065 cd/m² of 1000: 28.6
        ("hlg", 6554, 29),
        ("hlg", 24903, 109),  # 38 %: 26.24 cd/m², 108.7
        ("hlg", 49151, 230),  # 75 %: 203.15 cd/m², shown as 159.1, 230.4
        ("hlg", 65535, 255),
    ],
)
def test_greys(transfer: HdrTransfer, code: int, expected: int) -> None:
    picture = np.full((2, 3, 3), code, np.uint16)
    assert tone_map(picture, transfer).tolist() == [[[expected] * 3] * 3] * 2


@pytest.mark.parametrize(
    ("codes", "channel"),
    # 50 cd/m² times the columns of BT.2087's BT.709 to BT.2020, as codes of PQ: red is
    # (0.6274, 0.0691, 0.0164), green (0.3293, 0.9195, 0.0880), blue (0.0433, 0.0114, 0.8956).
    [((26012, 14585, 9179), 0), ((22308, 28333, 15657), 1), ((12646, 8072, 28170), 2)],
    ids=["red", "green", "blue"],
)
def test_the_primaries_of_bt709(codes: tuple[int, int, int], channel: int) -> None:
    (found,) = tone_map(np.array([[codes]], np.uint16), "pq")[0]
    assert abs(int(found[channel]) - 142) <= 1
    # The matrices are rounded to four digits: 255 · 0.0001^(1/2.4) = 5.5.
    assert max(int(found[other]) for other in range(3) if other != channel) <= 6


def test_a_colour_outside_of_bt709_is_clipped() -> None:
    (found,) = tone_map(np.array([[[0, 33297, 0]]], np.uint16), "pq")[0]
    assert found.tolist()[::2] == [0, 0]
    assert found[1] > 150


def test_hlg_makes_a_colour_as_bright_as_its_luminance_says() -> None:
    """Red alone at 50 %: of the scene 1/12, luminance 0.2627 / 12 = 0.02189.

    To the power of 0.2 that is 0.4656, so 0.0388 of 1000 cd/m² is red. In BT.709 that is 1.6605 as
    much, 64.4 cd/m²: 255 · (64.4 / 203)^(1/2.4) = 158.0.
    """
    (found,) = tone_map(np.array([[[32768, 0, 0]]], np.uint16), "hlg")[0]
    assert found.tolist() == [158, 0, 0]
