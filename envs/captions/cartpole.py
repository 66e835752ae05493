"""Captions of CartPole: where the pole points and where the cart stands.

Log-odds are piecewise linear in the angle (degrees from upright, positive to the right) and in the cart's
position (metres from the middle of the track). They stay within about +-4, where a sigmoid still has a slope
to learn from, and those of the goal and its opposite never level off, so a score that follows them has no
local optimum.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvlm.clip.captions import CaptionedDataset, Concept, Goal, Sweep, both, expand

from ..cartpole import CartPole, CartPoleState

TRACK = 2.4  # m, either side of the middle
UPRIGHT = 12.0  # degrees: the hard version of "upright", gymnasium's limit


def degrees(state: CartPoleState) -> Float[Array, "..."]:
    """Angle of the pole from upright in [-180, 180], positive leaning right."""
    return jnp.rad2deg(jnp.arctan2(jnp.sin(state.theta), jnp.cos(state.theta)))


def off_by(angle: Float[Array, "..."], target: float) -> Float[Array, "..."]:
    """Degrees between two directions, in [0, 180]."""
    return jnp.abs(jnp.mod(angle - target + 180.0, 360.0) - 180.0)


def close(distance: Float[Array, "..."]) -> Float[Array, "..."]:
    """Falls everywhere: fast for the first 20 degrees (+1.5 to -1), then slowly to -3.3 at 180."""
    return jnp.where(distance < 20.0, (UPRIGHT - distance) / 8.0, -1.0 - (distance - 20.0) / 70.0)


def towards(angle: Float[Array, "..."], target: float, half_width: float) -> Float[Array, "..."]:
    """True within `half_width` degrees of a direction, less and less so outside, levelling at -4."""
    return jnp.clip((half_width - off_by(angle, target)) / 10.0, -4.0, 2.0)


def upright(state: CartPoleState) -> Float[Array, "..."]:
    return close(off_by(degrees(state), 0.0))


def hanging(state: CartPoleState) -> Float[Array, "..."]:
    return close(off_by(degrees(state), 180.0))


def leaning(state: CartPoleState, side: float) -> Float[Array, "..."]:
    """Tilted to one side (-1 left, +1 right), not yet lying: 10 to 80 degrees."""
    return towards(degrees(state), 45.0 * side, 35.0)


def horizontal(state: CartPoleState, side: float) -> Float[Array, "..."]:
    return towards(degrees(state), 90.0 * side, 15.0)


def either(left: Float[Array, "..."], right: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.maximum(left, right)


def cart_at(state: CartPoleState, low: float, high: float) -> Float[Array, "..."]:
    """Cart between two positions (m); 0.2 m is one unit of log-odds."""
    return jnp.clip(jnp.minimum(state.x - low, high - state.x) / 0.2, -4.0, 2.5)


def cart_left(state: CartPoleState) -> Float[Array, "..."]:
    return cart_at(state, -9.0, -0.8)


def cart_middle(state: CartPoleState) -> Float[Array, "..."]:
    return cart_at(state, -0.6, 0.6)


def cart_right(state: CartPoleState) -> Float[Array, "..."]:
    return cart_at(state, 0.8, 9.0)


def constant(state: CartPoleState) -> Float[Array, "..."]:
    """True of every picture."""
    return jnp.full_like(state.x, 2.0)


_A = "[a|the|]"
_ON_CART = "[on top of the cart|on the cart|on top of a cart|above the cart|on a cart|]"

_PLACES = {
    "left": ("left", cart_left),
    "middle": ("[middle|center]", cart_middle),
    "right": ("right", cart_right),
}

_CONCEPTS = (
    Concept(
        "upright",
        expand(
            "pole vertically upright on top of the cart",
            f"{_A} pole [vertically upright|upright|vertical] {_ON_CART}",
            f"{_A} pole [standing upright|standing straight up|standing vertically] {_ON_CART}",
            f"{_A} pole [balanced|balancing|balanced vertically|pointing straight up] {_ON_CART}",
            f"{_A} [upright|balanced|vertical] pole {_ON_CART}",
            f"{_A} cart [balancing|holding|with] [an|the] upright pole",
            f"{_A} cart [balancing|holding|with] [a|the] [vertical|balanced] pole",
            f"{_A} cart with [a|the] pole [upright|standing upright|standing straight up|vertical]",
            f"{_A} cart [balancing|holding] [a|the] pole [upright|vertically|straight up]",
            "the pole [is|stands] [upright|vertical|balanced|straight up]",
        ),
        "the cart with the pole standing vertically",
        upright,
    ),
    Concept(
        "scene",
        expand(
            "pole and cart",
            "[a|the] pole and [a|the] cart",
            "[a|the|] cart and [a|the|] pole",
            "[a|the|] cart with [a|the] pole",
            "[a|the|] pole with [a|the] cart",
            "[a picture|an image|a drawing] of [a|the] [cart and pole|pole and cart|cart with a pole]",
            "[a|the] [cart|pole]",
            "[a|the|] cart on [a|the] track",
        ),
        "a drawing of a cart and a pole",
        constant,
    ),
    Concept(
        "hanging",
        expand(
            "pole hanging down below the cart",
            f"{_A} pole [hanging|hanging down|pointing straight down] [below|under] [the|a] cart",
            f"{_A} pole [hanging|hanging down|hanging straight down|pointing straight down]",
            f"{_A} pole [upside down|hanging vertically] [below the cart|under the cart|from the cart|]",
            f"{_A} [hanging|upside down] pole [below the cart|under the cart|]",
            f"{_A} cart with [a|the] pole hanging [down|straight down|below|under it]",
            "the pole hangs [down|straight down|below the cart|under the cart]",
        ),
        "the cart with the hanging pole below it",
        hanging,
    ),
    Concept(
        "fallen",
        expand(
            f"{_A} pole [that has fallen|fallen over|fallen down|that fell over|that fell down]",
            f"{_A} [fallen|dropped] pole [on the cart|]",
            "the pole [has fallen|fell|has fallen over|fell over|has fallen down|fell down]",
            "the pole is [not upright|not balanced|not standing|no longer upright|no longer balanced]",
            f"{_A} cart that [dropped the pole|has dropped its pole|lost the pole|lost its pole]",
        ),
        "a cart with a fallen pole",
        lambda state: -upright(state),
    ),
    Concept(
        "above",
        expand(
            f"{_A} pole [in the upper half|higher than the cart|over the cart|raised over the cart]",
            "the [tip|end|top] of the pole is [above|higher than|over] the [cart|track]",
            f"{_A} [raised|lifted] pole",
            "the pole [is raised|is lifted|points upwards|is raised over the cart|is higher than the cart]",
            "pole pointing upwards",
        ),
        "the tip of the raised pole is higher than the cart",
        lambda state: jnp.clip((90.0 - off_by(degrees(state), 0.0)) / 15.0, -4.0, 4.0),
    ),
    Concept(
        "below",
        expand(
            f"{_A} pole [in the lower half|lower than the cart|lowered under the track|lower than the track]",
            "the [tip|end|top] of the pole is [below|lower than|under] the [cart|track]",
            f"{_A} [lowered|sunken] pole",
            "the pole [is lowered|points downwards|is lower than the cart|is lowered under the track]",
            "pole pointing downwards",
        ),
        "the end of the lowered pole is lower than the track",
        lambda state: jnp.clip((off_by(degrees(state), 0.0) - 90.0) / 15.0, -4.0, 4.0),
    ),
    Concept(
        "leaning",
        expand(
            f"{_A} pole [leaning|tilted|tilting|slanted|leaning over|tilted over] [on the cart|to one side|]",
            f"{_A} [leaning|tilted|tilting|slanted] pole [on the cart|on top of the cart|]",
            f"{_A} cart with [a|the] [leaning|tilted|slanted] pole",
            "the pole [is falling|leans|tilts|is tilted|is slanted] [over|to one side]",
        ),
        "a tilting pole on top of a cart",
        lambda state: either(leaning(state, -1.0), leaning(state, 1.0)),
    ),
    *(
        Concept(
            f"leaning_{side}",
            expand(
                f"{_A} pole [leaning|tilted|tilting|falling|slanted|bent over] to the {side}",
                f"{_A} pole [leaning|tilted|tilting|falling] {side} [on the cart|]",
                f"{_A} pole on the cart [leaning|tilted|tilting|falling] [to the|towards the] {side}",
                f"the pole [leans|tilts|falls|points] [to the|towards the] {side}",
                f"{_A} cart with [a|the] pole [leaning|tilted|falling] to the {side}",
            ),
            f"a cart with a pole tilting towards the {side}",
            lambda state, sign=sign: leaning(state, sign),
        )
        for side, sign in (("left", -1.0), ("right", 1.0))
    ),
    Concept(
        "slightly_tilted",
        expand(
            f"{_A} pole [slightly|a little|a bit] [tilted|leaning|off vertical|slanted]",
            f"{_A} [nearly|almost] [upright|vertical|balanced] pole",
            "the pole [is|stands] [nearly|almost] [upright|vertical|balanced]",
            "[slightly|a little] tilted pole on the cart",
        ),
        "the cart with a slightly leaning pole",
        lambda state: jnp.clip((10.0 - jnp.abs(off_by(degrees(state), 0.0) - 20.0)) / 5.0, -4.0, 2.0),
    ),
    Concept(
        "horizontal",
        expand(
            f"{_A} [horizontal|level|flat|sideways] pole [on the cart|next to the cart|]",
            f"{_A} pole [lying flat|lying down|horizontal|level with the cart|parallel to the track]",
            "the pole [is|lies] [horizontal|flat|level|sideways|parallel to the track]",
            f"{_A} cart with [a|the] [horizontal|flat|level] pole",
        ),
        "a cart with a pole lying parallel to the track",
        lambda state: either(horizontal(state, -1.0), horizontal(state, 1.0)),
    ),
    *(
        Concept(
            f"horizontal_{side}",
            expand(
                f"{_A} [horizontal|level|flat] pole [on the|pointing] {side} [of the cart|]",
                f"{_A} pole [lying flat|lying down|horizontal|level] [on the|to the] {side} [of the cart|]",
                f"the pole lies [flat|horizontal] on the {side} of the cart",
                f"{_A} cart with [a|the] [horizontal|flat] pole on [its|the] {side}",
            ),
            f"the pole lies level to the {side} of the cart",
            lambda state, sign=sign: horizontal(state, sign),
        )
        for side, sign in (("left", -1.0), ("right", 1.0))
    ),
    *(
        Concept(
            f"hanging_{side}",
            expand(
                f"{_A} pole [hanging|hanging down|pointing down] to the {side}",
                f"{_A} pole [hanging|pointing down] [below|under] the cart to the {side}",
                f"the pole hangs [to the {side}|below the cart to the {side}|down to the {side}]",
                f"{_A} cart with [a|the] pole hanging [down to|to] the {side}",
            ),
            f"the hanging pole points to the {side} below the cart",
            lambda state, sign=sign: towards(degrees(state), 135.0 * sign, 35.0),
        )
        for side, sign in (("left", -1.0), ("right", 1.0))
    ),
    *(
        Concept(
            f"cart_{name}",
            expand(
                f"{_A} cart [on|at|near] the {place} of the [track|picture|image]",
                f"{_A} cart [is|standing|stands] [on|at] the {place} [of the track|]",
                f"{_A} cart that [is|stands] [on|at] the {place}",
                f"{_A} cart and [a|the] pole [on|at|near] the {place} of the track",
            ),
            f"the picture of a cart that stands near the {name}",
            fact,
        )
        for name, (place, fact) in _PLACES.items()
    ),
    Concept(
        "cart_edge",
        expand(
            f"{_A} cart [at|near|close to] the [edge|end|border] of the [track|picture|image]",
            f"{_A} cart [about to leave|leaving] the [track|picture|image]",
            f"{_A} cart far from the [middle|center]",
        ),
        "the picture of a cart about to leave the track",
        lambda state: jnp.clip((jnp.abs(state.x) - 1.8) / 0.2, -4.0, 2.5),
    ),
    *(
        Concept(
            f"upright_cart_{name}",
            expand(
                f"{_A} pole upright [on|and] [a|the] cart [on|at] the {place} of the [track|image]",
                f"{_A} [upright|balanced] pole [and|on] [a|the] cart [on|at] the {place} of the track",
                f"{_A} cart [on|at] the {place} of the track with [a|the] [upright|balanced] pole",
            ),
            f"a cart balancing a pole on the {name} of the track",
            lambda state, fact=fact: both(upright(state), fact(state)),
        )
        for name, (place, fact) in _PLACES.items()
    ),
    *(
        Concept(
            f"hanging_cart_{name}",
            expand(
                f"{_A} pole hanging down and [a|the] cart [on|at] the {place} of the [track|image]",
                f"{_A} [hanging|upside down] pole and [a|the] cart [on|at] the {place} of the track",
                f"{_A} cart [on|at] the {place} of the track with [a|the] [hanging|upside down] pole",
            ),
            f"a cart with a hanging pole on the {name} of the track",
            lambda state, fact=fact: both(hanging(state), fact(state)),
        )
        for name, (place, fact) in _PLACES.items()
    ),
    *(
        Concept(
            f"leaning_{side}_cart_{name}",
            expand(
                f"{_A} pole [leaning|tilted] to the {side} and [a|the] cart [on|at] the {name} of the track",
                f"{_A} cart [on|at] the {name} of the track with [a|the] pole [leaning|tilted] to the {side}",
                f"{_A} pole [leaning|tilted] {side} and [a|the] cart [on|at] the {name}",
            ),
            f"the pole leans to the {side} and the cart is on the {name} of the track",
            lambda state, sign=sign, fact=_PLACES[name][1]: both(leaning(state, sign), fact(state)),
        )
        for side, sign in (("left", -1.0), ("right", 1.0))
        for name in ("left", "right")
    ),
)


def sample_states(key: jax.Array, count: int) -> CartPoleState:
    """Angles all the way round and carts over the whole track; two in five are near upright or hanging.

    Velocities cannot be seen and are zero.
    """
    key_x, key_theta, key_near, key_kind = jax.random.split(key, 4)
    x = jax.random.uniform(key_x, (count,), jnp.float32, -TRACK, TRACK)
    anywhere = jax.random.uniform(key_theta, (count,), jnp.float32, -180.0, 180.0)
    near = 20.0 * jax.random.normal(key_near, (count,))
    kind = jax.random.uniform(key_kind, (count,))
    angle = jnp.where(kind < 0.3, near, jnp.where(kind < 0.4, 180.0 + near, anywhere))
    return _state(x, jnp.deg2rad(angle))


def _state(x: Float[Array, " n"], theta: Float[Array, " n"]) -> CartPoleState:
    return CartPoleState(x=x, x_dot=jnp.zeros_like(x), theta=theta, theta_dot=jnp.zeros_like(x))


def _sweep_states(values: Float[Array, " n"], x: float) -> CartPoleState:
    return _state(jnp.full_like(values, x), jnp.deg2rad(values))


def cartpole_captions() -> CaptionedDataset:
    """Poles at any angle on carts anywhere on the track."""
    environment = CartPole()
    return CaptionedDataset(
        domain="cartpole",
        environment=environment,
        params=environment.default_params,
        sample_states=sample_states,
        concepts=_CONCEPTS,
        goals=(
            Goal(
                "upright",
                "hanging",
                Sweep(
                    coordinate="angle",
                    unit="degrees",
                    values=tuple(float(angle) for angle in range(-180, 181, 5)),
                    contexts=(-2.0, -1.0, 0.0, 1.0, 2.0),
                    states=_sweep_states,
                ),
            ),
        ),
        baseline="scene",
        looks=environment.looks,
    )
