"""Coverage against areas worked out by hand or by 16 x 16 samples a pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.render import (
    Camera2D,
    box,
    circle,
    curve,
    patch_around,
    pixel_grid,
    polygon,
)

SQUASHED = Camera2D(left=-3.0, bottom=-2.0, width=6.0, height=4.0)
SIZE, FINE = 24, 16


def _sampled(inside) -> np.ndarray:
    """Share of each pixel of the squashed view where `inside(x, y)` holds."""
    steps = (np.arange(SIZE * FINE) + 0.5) / (SIZE * FINE)
    hits = inside(-3.0 + 6.0 * steps[None, :], 2.0 - 4.0 * steps[:, None])
    hits = np.broadcast_to(hits, (SIZE * FINE, SIZE * FINE)).astype(float)
    return hits.reshape(SIZE, FINE, SIZE, FINE).mean(axis=(1, 3))


def _drawn(shape) -> np.ndarray:
    return np.asarray(jax.jit(lambda: shape(pixel_grid(SQUASHED, SIZE)))())


def _turned(x, y, angle):
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _vector(*values: float) -> jax.Array:
    return jnp.asarray(values, jnp.float32)


TRIANGLE = np.array([[-1.5, -1.0], [1.8, -0.4], [0.2, 1.4]], np.float32)


def _in_triangle(x, y):
    inside = True
    for i in range(3):
        (ax, ay), (bx, by) = TRIANGLE[i], TRIANGLE[(i + 1) % 3]
        inside = inside & ((bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0)
    return inside


def _in_turned_box(x, y):
    u, v = _turned(x - 0.3, y + 0.2, 0.6)
    return (np.abs(u) < 1.6) & (np.abs(v) < 0.5)


SHAPES = {
    "box": (
        lambda g: box(g, _vector(0.1, -0.3), _vector(1.3, 0.7)),
        lambda x, y: (np.abs(x - 0.1) < 1.3) & (np.abs(y + 0.3) < 0.7),
    ),
    "thin box": (
        lambda g: box(g, _vector(0.1, -0.3), _vector(2.0, 0.02)),
        lambda x, y: (np.abs(x - 0.1) < 2.0) & (np.abs(y + 0.3) < 0.02),
    ),
    "turned box": (
        lambda g: box(g.local(_vector(0.3, -0.2), 0.6), _vector(0.0, 0.0), _vector(1.6, 0.5)),
        _in_turned_box,
    ),
    "circle": (
        lambda g: circle(g, _vector(0.2, 0.1), 1.3),
        lambda x, y: (x - 0.2) ** 2 + (y - 0.1) ** 2 < 1.3**2,
    ),
    "circle on a turned grid": (
        lambda g: circle(g.local(_vector(0.2, 0.1), 0.8), _vector(0.0, 0.0), 1.3),
        lambda x, y: (x - 0.2) ** 2 + (y - 0.1) ** 2 < 1.3**2,
    ),
    "mirrored circles": (
        lambda g: circle(g.local(_vector(0.0, 0.1), 0.5).mirrored(), _vector(1.2, 0.0), 0.7),
        lambda x, y: (np.abs(_turned(x, y - 0.1, 0.5)[0]) - 1.2) ** 2 + _turned(x, y - 0.1, 0.5)[1] ** 2 < 0.49,
    ),
    "polygon": (lambda g: polygon(g, TRIANGLE), _in_triangle),
    "curve": (
        lambda g: curve(g, jnp.sin(g.x), jnp.cos(g.x), 0.5),
        lambda x, y: np.abs(y - np.sin(x)) < 0.25 * np.sqrt(1.0 + np.cos(x) ** 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_coverage_on_a_squashed_frame(name):
    shape, inside = SHAPES[name]
    drawn, sampled = _drawn(shape), _sampled(inside)
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0
    # Corners of a pixel are cut straight, and curves are taken for their tangents: a tenth of a pixel.
    assert np.abs(drawn - sampled).max() < 0.12
    assert np.abs(drawn - sampled).mean() < 0.004
    assert abs(drawn.sum() - sampled.sum()) < 0.02 * sampled.sum() + 0.2


def test_thin_stroke_keeps_its_share():
    drawn = _drawn(lambda g: box(g, _vector(0.0, 0.05), _vector(4.0, 0.01)))
    np.testing.assert_allclose(drawn.sum(axis=0), 0.02 / (4.0 / SIZE), atol=1e-5)


def test_disc_smaller_than_a_pixel_is_faint():
    drawn = _drawn(lambda g: circle(g, _vector(0.125, 0.0833), 0.03))
    np.testing.assert_allclose(drawn.sum(), np.pi * 0.03**2 / (6.0 / SIZE * 4.0 / SIZE), rtol=0.05)


@pytest.mark.parametrize("center", [(0.0, 0.0), (-2.9, 1.8), (3.4, -2.2), (1.1, 0.4)])
def test_patch_draws_what_the_frame_would(center):
    @jax.jit
    def both(center):
        patch = patch_around(SQUASHED, SIZE, center, 0.8)
        part = circle(patch.grid, center, 0.8)[..., None] * jnp.ones(3)
        whole = circle(pixel_grid(SQUASHED, SIZE), center, 0.8)[..., None] * jnp.ones(3)
        return patch.write(jnp.zeros((SIZE, SIZE, 3)), part), whole, patch.read(whole), part

    written, whole, read, part = both(_vector(*center))
    assert part.shape[0] < SIZE
    np.testing.assert_allclose(written, whole, atol=1e-6)
    np.testing.assert_allclose(read, part, atol=1e-6)


def test_shapes_have_gradients():
    def darkness(position):
        grid = pixel_grid(SQUASHED, SIZE).local(position, position[0])
        return jnp.sum(circle(grid, _vector(0.0, 0.0), 0.5) * grid.x) + jnp.sum(
            box(grid, _vector(0.0, 0.0), _vector(0.4, 0.3))
        )

    gradient = jax.jit(jax.grad(darkness))(_vector(0.125, 0.0833))
    assert np.isfinite(gradient).all()
