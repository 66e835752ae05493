"""An environment that notes at what precision products are traced in it."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from envs.cartpole import CartPole

EXACT = (jax.lax.Precision.HIGHEST,) * 2


@dataclass(frozen=True)
class Products(CartPole):
    seen: dict = field(default_factory=dict, compare=False)  # precisions, by where

    def note(self, where):
        (product,) = jax.make_jaxpr(jax.lax.dot)(jnp.ones(2), jnp.ones(2)).eqns
        self.seen.setdefault(where, set()).add(product.params["precision"])

    def reset(self, key, params):
        self.note("reset")
        return super().reset(key, params)

    def step(self, key, state, action, params):
        self.note("step")
        return super().step(key, state, action, params)

    def render(self, scene, assets, camera, size):
        self.note("render")
        return super().render(scene, assets, camera, size)
