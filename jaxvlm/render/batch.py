"""How many frames are drawn at a time: one after the other where caches are small, all at once elsewhere."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt8

from jaxvlm.render.pixels import to_uint8
from jaxvlm.render.ray.assets import RayAssets


def frame_by_frame(assets: Any) -> bool:
    """Whether a CPU should draw frames of these assets one after the other.

    A ray-cast frame has dozens of intermediate pictures, which stay in a core's cache when it is drawn alone; in
    batches of 16 a frame took twice as long at 64 pixels and five times at 224. A 2-D canvas is one elementwise
    pass, which a loop around single frames would slow down ten times.
    """
    leaves = jax.tree.leaves(assets, is_leaf=lambda x: isinstance(x, RayAssets))
    return any(isinstance(leaf, RayAssets) for leaf in leaves)


def draw_batch(
    render: Callable[[Any, Any, Any, int], jax.Array], scenes: Any, assets: Any, cameras: Any, size: int
) -> UInt8[Array, "n v size size 3"]:
    """Draws scenes from every camera as uint8, in the order of work that suits the renderer and the backend.

    Args:
      render: `(scene, assets, camera, size) -> f32[size, size, 3]`, unbatched.
      scenes: pytree whose leaves lead with the number of scenes.
      assets: shared.
      cameras: pytree whose leaves lead with the number of views.
      size: side of a frame, pixels.
    """
    num_views = jax.tree.leaves(cameras)[0].shape[0]

    def together(scenes: Any) -> jax.Array:
        draw = jax.vmap(render, in_axes=(None, None, 0, None))
        return to_uint8(jax.vmap(draw, in_axes=(0, None, None, None))(scenes, assets, cameras, size))

    def in_turn(scenes: Any) -> jax.Array:
        views = [jax.tree.map(lambda leaf, i=i: leaf[i], cameras) for i in range(num_views)]
        frames = [jax.lax.map(lambda scene, c=c: render(scene, assets, c, size), scenes) for c in views]
        return to_uint8(jnp.stack(frames, axis=1))  # in the loop the conversion would not be vectorised

    if not frame_by_frame(assets):
        return together(scenes)
    return jax.lax.platform_dependent(scenes, cpu=in_turn, default=together)
