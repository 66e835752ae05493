"""Pictures of scenes for people, as against those that a CLIP is shown."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.compiler import compiler_options
from jaxvlm.render import draw_batch


def make_drawer(
    render: Callable[[Any, Any, Any, int], jax.Array], assets: Any, cameras: Sequence[Any], size: int
) -> Callable[[Any], np.ndarray]:
    """A function that draws scenes, views side by side: pytree [time, ...] -> u8[time, size, views * size, 3].

    It compiles once for each number of scenes.
    """
    views = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *cameras)

    @partial(jax.jit, compiler_options=compiler_options())
    def draw(scenes: Any, assets: Any, views: Any) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            frames = draw_batch(render, scenes, assets, views, size)  # [time, view, size, size, 3]
        return jnp.moveaxis(frames, 1, 2).reshape(frames.shape[0], size, -1, 3)

    return lambda scenes: np.asarray(draw(scenes, assets, views))
