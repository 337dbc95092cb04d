"""Convert HDR pictures to SDR: BT.2100 PQ and HLG to BT.709, highlights rolled off by BT.2390.

The light of the HDR picture on a display of 1000 cd/m² is compressed to that of one whose white is
203 cd/m², HDR reference white by BT.2408, and coded as BT.1886 shows it. Up to 88 cd/m² nothing is
compressed. Mastering metadata is not used: one recording looks as the next.
"""

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

HdrTransfer = Literal["hlg", "pq"]
Floats = npt.NDArray[np.float32]

PEAK_LIGHT, WHITE_LIGHT = 1000.0, 203.0  # [cd/m²]
HLG_SYSTEM_GAMMA = 1.2  # at PEAK_LIGHT; BT.2100, table 5
BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
# BT.2087, annex 2: linear BT.2020 to linear BT.709.
BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_STEPS = 4095  # of the tables over light, by its square root


def tone_map(picture: npt.NDArray[np.uint16], transfer: HdrTransfer) -> npt.NDArray[np.uint8]:
    """Turn R'G'B' of BT.2020, full range uint16 (H, W, 3), into R'G'B' of BT.709, uint8."""
    light: Floats = _light_table(transfer)[picture]
    if transfer == "hlg":
        # The OOTF of BT.2100: what the camera saw becomes what the display shows.
        luminance = light @ BT2020_LUMINANCE
        light = light * (luminance ** np.float32(HLG_SYSTEM_GAMMA - 1))[..., None]
    indices = np.sqrt(np.minimum(light, 1)) * _STEPS + 0.5
    compressed = _compression_table()[indices.astype(np.uint16)]
    shown = np.clip(compressed @ BT2020_TO_BT709.T, 0, 1)
    codes: npt.NDArray[np.uint8] = _code_table()[(np.sqrt(shown) * _STEPS + 0.5).astype(np.uint16)]
    return codes


@cache
def _light_table(transfer: HdrTransfer) -> Floats:
    """Light of each 16-bit code, 1 for the peak; of the scene for HLG. float32 (65536,)"""
    signal = np.arange(65536) / 65535
    light = pq_to_light(signal) / PEAK_LIGHT if transfer == "pq" else hlg_to_scene(signal)
    return light.astype(np.float32)


@cache
def _compression_table() -> Floats:
    """Light on an SDR display, 1 for its white, by the square root of HDR light. float32 (4096,)"""
    light = (np.arange(_STEPS + 1) / _STEPS) ** 2 * PEAK_LIGHT
    return (compress(light) / WHITE_LIGHT).astype(np.float32)


@cache
def _code_table() -> npt.NDArray[np.uint8]:
    """8-bit codes of BT.1886's gamma of 2.4, by the square root of light. uint8 (4096,)"""
    light = (np.arange(_STEPS + 1) / _STEPS) ** 2
    return np.rint(255 * light ** (1 / 2.4)).astype(np.uint8)


def pq_to_light(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The EOTF of PQ, SMPTE ST 2084 and BT.2100 table 4: 0 to 1 → cd/m²."""
    power = signal ** (1 / _M2)
    return 10000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)


def light_to_pq(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inverse EOTF of PQ: cd/m² → 0 to 1."""
    power = (light / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def hlg_to_scene(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inverse OETF of HLG, BT.2100 table 5: 0 to 1 → light of the scene, 0 to 1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def compress(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The EETF of BT.2390, section 5.4.1: light up to the peak → light up to white [cd/m²]."""
    peak, white = light_to_pq(np.array([PEAK_LIGHT, WHITE_LIGHT]))
    signal, highest = light_to_pq(light) / peak, white / peak
    knee = 1.5 * highest - 0.5
    t = np.maximum(signal - knee, 0) / (1 - knee)
    rolled = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (3 * t**2 - 2 * t**3) * highest
    )
    return pq_to_light(np.where(signal < knee, signal, rolled) * peak)
