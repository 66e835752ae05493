"""Procedural textures, painted once on the host in NumPy: the same bits whatever the accelerator.

The noise is value noise on an integer lattice with a fixed hash, so a seed names a texture for good.
"""

import numpy as np


def value_noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Smooth noise in [0, 1], about one bump a unit, at the broadcast points (x, y); float32."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float32), np.asarray(y, np.float32))
    column, row = np.floor(x), np.floor(y)
    across, up = _fade(x - column), _fade(y - row)
    column, row = column.astype(np.int32), row.astype(np.int32)
    low = _lerp(_lattice(column, row, seed), _lattice(column + 1, row, seed), across)
    high = _lerp(_lattice(column, row + 1, seed), _lattice(column + 1, row + 1, seed), across)
    return _lerp(low, high, up)


def fractal_noise(x: np.ndarray, y: np.ndarray, octaves: int, seed: int, gain: float = 0.5) -> np.ndarray:
    """Fractal sum of value noise, normalised to [0, 1]: each octave twice as fine and `gain` as strong.

    Octaves are turned against each other, which hides the axes of the lattice.
    """
    total, weight, amplitude = 0.0, 0.0, 1.0
    for octave in range(octaves):
        total = total + amplitude * value_noise(x, y, seed + 101 * octave)
        weight += amplitude
        amplitude *= gain
        x, y = 1.6 * x + 1.2 * y + 17.3, 1.6 * y - 1.2 * x + 5.1
    return np.asarray(total / weight, np.float32)


def ridged_noise(x: np.ndarray, y: np.ndarray, octaves: int, seed: int, gain: float = 0.5) -> np.ndarray:
    """As `fractal_noise`, but folded at the middle: sharp crests at 1, as on rock."""
    total, weight, amplitude = 0.0, 0.0, 1.0
    for octave in range(octaves):
        total = total + amplitude * (1.0 - np.abs(2.0 * value_noise(x, y, seed + 101 * octave) - 1.0))
        weight += amplitude
        amplitude *= gain
        x, y = 1.6 * x + 1.2 * y + 17.3, 1.6 * y - 1.2 * x + 5.1
    return np.asarray(total / weight, np.float32)


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, a cubic between."""
    share = np.clip((value - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _lattice(column: np.ndarray, row: np.ndarray, seed: int) -> np.ndarray:
    """A hash of two integers as a float in [0, 1); 32-bit unsigned arithmetic wraps by definition."""
    bits = column.astype(np.uint32) * np.uint32(0x9E3779B1) ^ row.astype(np.uint32) * np.uint32(0x85EBCA77)
    bits = bits ^ np.uint32((seed * 0xC2B2AE3D) & 0xFFFFFFFF)
    bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    bits = (bits ^ (bits >> np.uint32(12))) * np.uint32(0x297A2D39)
    bits = bits ^ (bits >> np.uint32(15))
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def _fade(share: np.ndarray) -> np.ndarray:
    return share * share * share * (share * (6.0 * share - 15.0) + 10.0)


def _lerp(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    return start + share * (end - start)
