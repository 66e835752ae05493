"""What is noted of an episode: success as `jaxvlm evaluate` judges it, by hand."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxvlm.evaluation.collect import Played
from jaxvlm.rating import Rule
from jaxvlm.rating.record import record

# Episodes of one seed in six steps, the last of them over after four.
HOLDS = np.array(
    [[0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0]], bool
)
LENGTHS = np.array([6, 6, 6, 6, 4])


@struct.dataclass
class Scene:
    """A pose of one number."""

    place: jnp.ndarray


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(6, 6, 0.5), [False, True, True, True, False]),
        (Rule(6, 1, 1.0), [True, False, False, True, True]),  # the last step, as MountainCar's
        (Rule(6, 2, 0.9), [False, False, False, True, False]),
        # Phases of three steps, the first of each a transition: who meets the first phase alone has half of all steps.
        (Rule(6, 6, 0.5, phases=2), [False, True, False, True, False]),
    ],
)
def test_success_is_the_tasks(monkeypatch, rule, expected):
    counted = np.arange(6) < LENGTHS[:, None]
    phase = np.tile(np.arange(6) // 3, (5, 1)) if rule.phases > 1 else None
    by_time = lambda array: jnp.asarray(array.T[None])  # noqa: E731

    asked = []

    def play(env_params, agent, seeds, first, deterministic, step):
        asked.append(bool(deterministic))
        rows = slice(int(first), int(first) + 5)
        return Played(
            scene=Scene(by_time(HOLDS[rows].astype(np.float32))),
            success=by_time(HOLDS[rows]),
            counted=by_time(counted[rows]),
            terminated=by_time(np.zeros_like(counted[rows])),
            phase=None if phase is None else by_time(phase[rows]),
        )

    monkeypatch.setattr("jaxvlm.rating.record.make_player", lambda *arguments, **settings: play)
    deterministic = rule.window == 6
    played = record(
        SimpleNamespace(phases=rule.phases, transition=1),
        lambda *arguments: None,
        SimpleNamespace(starts=jnp.asarray([3])),
        None,
        jnp.zeros(1, jnp.int32),
        step=0,
        episodes=range(5),
        rule=rule,
        deterministic=deterministic,
    )
    assert asked == [deterministic]
    assert played.success.tolist() == [expected]
    assert played.steps.tolist() == [LENGTHS.tolist()]
    np.testing.assert_array_equal(played.holds[0], HOLDS & counted)
    assert set(played.scenes) == {"place"}
