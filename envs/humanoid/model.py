"""The humanoid's MuJoCo model: one file of bodies, a look and a choice of contacts."""

from functools import cache
from pathlib import Path
from typing import Any, Literal

from jaxvlm.errors import ConfigError

from .looks import LOOKS, look_files

Contacts = Literal["floor", "limbs", "all"]

ARMS = (("right_uarm1", "right_larm", "right_hand"), ("left_uarm1", "left_larm", "left_hand"))
LEGS = (("right_thigh1", "right_shin1", "right_foot"), ("left_thigh1", "left_shin1", "left_foot"))
TRUNK = ("torso1", "head", "uwaist", "lwaist", "butt")

# Read by MJX alone: of the possible contacts that share a condim it solves for this many, the deepest. The body has 29
# points that could touch the floor, of which falls and agents have not been seen to use more than 7. Solving for the
# others too changes nothing and takes a third longer.
MAX_CONTACTS = {"floor": 12, "limbs": 24, "all": 24}


def limb_pairs() -> tuple[tuple[str, str], ...]:
    """Pairs of body geoms that `contacts="limbs"` keeps apart.

    Arms and the trunk, the two arms, the two legs, and forearms and hands with the legs. Neighbours along a
    limb are left to the joints' limits, as are thighs and trunk.
    """
    pairs = []
    for arm in ARMS:
        # An upper arm hangs on the torso, whose geoms MuJoCo does not let it collide with.
        pairs += [(a, b) for a in arm for b in TRUNK if not (a.endswith("uarm1") and b in TRUNK[:3])]
        pairs += [(a, b) for a in arm[1:] for leg in LEGS for b in leg[:2]]
    pairs += [(a, b) for a in ARMS[0] for b in ARMS[1]]
    pairs += [(a, b) for a in LEGS[0] for b in LEGS[1]]
    return tuple(pairs)


def contact_xml(contacts: str) -> str:
    """The part of the model that says which geoms collide.

    `floor`: every geom of the body with the floor. `limbs`: also the pairs of `limb_pairs`. `all`: every pair
    that the published model lets collide.

    Raises:
      ConfigError: another name.
    """
    masks = 'contype="1" conaffinity="1"'
    if contacts not in MAX_CONTACTS:
        raise ConfigError(f"unknown contacts {contacts!r}: choose 'floor', 'limbs' or 'all'")
    most = f'<custom><numeric name="max_contact_points" data="{MAX_CONTACTS[contacts]}"/></custom>'
    if contacts == "all":
        return f"<mujoco>{most}<default><geom {masks}/></default></mujoco>"
    # Geoms collide where one's contype meets the other's conaffinity: the floor has both bits, the body one.
    default = '<default><geom contype="0" conaffinity="1"/></default>'
    pairs = limb_pairs() if contacts == "limbs" else ()
    listed = "".join(f'<pair geom1="{a}" geom2="{b}" condim="1"/>' for a, b in pairs)
    return f"<mujoco>{most}{default}<contact>{listed}</contact></mujoco>"


@cache
def load_model(look: str = "textured", contacts: str = "floor") -> Any:
    """Compiles the model, a `mujoco.MjModel`; treat it as read-only, it is shared between callers.

    Args:
      look: `textured` or `original`.
      contacts: see `contact_xml`.

    Raises:
      ConfigError: an unknown look or choice of contacts.
    """
    import mujoco

    if look not in LOOKS:
        raise ConfigError(f"the humanoid has no look {look!r}: choose one of {', '.join(LOOKS)}")
    files = look_files(look) | {"contacts.xml": contact_xml(contacts).encode()}
    text = Path(__file__).with_name("humanoid.xml").read_text()
    return mujoco.MjModel.from_xml_string(text, files)  # pyright: ignore[reportAttributeAccessIssue]
