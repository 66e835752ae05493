"""A dataset that trains in seconds: a black bar in a 16 x 16 picture, and sentences on where it stands."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.clip.captions import CaptionedDataset, Concept, Goal, Sweep, expand
from jaxvlm.clip.train import ClipTrainConfig

CONFIG = ClipTrainConfig(
    steps=300,
    batch_size=16,
    image_size=16,
    patch_size=8,
    width=32,
    layers=1,
    text_width=32,
    text_layers=1,
    context=8,
    projection=16,
    learning_rate=3e-3,
    mean_states=32,
    report_every=50,
    evaluation_states=64,
)


@struct.dataclass
class BarState:
    """Where the bar stands."""

    x: Float[Array, "..."]  # 0 to 1


@dataclass(frozen=True)
class Bar:
    """What `CaptionedDataset` uses of an environment."""

    looks: ClassVar[tuple[str, ...]] = ("white", "grey")

    @property
    def cameras(self) -> dict[str, Any]:
        return {"default": jnp.zeros(()), "blind": jnp.ones(())}

    def scene(self, state: BarState, params: Any) -> BarState:
        return state

    def assets(self, look: str) -> Array:
        return jnp.float32(1.0 if look == "white" else 0.7)

    def render(self, scene: BarState, assets: Array, camera: Any, size: int) -> Array:
        columns = (jnp.arange(size) + 0.5) / size
        bar = jnp.clip(1.5 - jnp.abs(columns - scene.x) * size, 0.0, 1.0)
        frame = assets * (1.0 - (1.0 - camera) * bar)
        return jnp.broadcast_to(frame[None, :, None], (size, size, 3))


def side(sign: float):
    return lambda state: sign * (state.x - 0.5) * 8.0


def bar_dataset(looks: tuple[str, ...] = ("white",)) -> CaptionedDataset:
    where = "[a|the|] [bar|line|stripe] [on|at|to] the"
    return CaptionedDataset(
        domain="bar",
        environment=Bar(),
        params=None,
        sample_states=lambda key, n: BarState(jax.random.uniform(key, (n,), minval=0.1, maxval=0.9)),
        concepts=(
            Concept("left", expand(f"{where} left"), "the left bar", side(-1.0)),
            Concept("right", expand(f"{where} right"), "the right bar", side(1.0)),
            Concept(
                "scene",
                expand("[a|the|] [bar|line|stripe]", "[a|the|] [bar|line|stripe] [on|at] [a|the] line"),
                "the stripe at the bar",
                lambda state: jnp.full_like(state.x, 2.0),
            ),
        ),
        goals=(
            Goal(
                "left",
                "right",
                Sweep("x", "widths", (0.2, 0.4, 0.6, 0.8), (0.0,), lambda values, context: BarState(values)),
            ),
        ),
        baseline="scene",
        looks=looks,
    )
