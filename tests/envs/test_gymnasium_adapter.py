import importlib
import sys
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from products import EXACT, Products

from envs.adapters import gymnasium as adapter
from envs.adapters.gymnasium import GymnasiumEnv
from envs.cartpole import CartPole
from envs.mountain_car import MountainCar
from envs.wrappers import TimeLimit
from jaxvlm.errors import ConfigError


@pytest.mark.parametrize("env", [TimeLimit(CartPole(), 4), MountainCar()], ids=["cartpole", "mountain-car"])
def test_passes_gymnasiums_checker(env):
    made = GymnasiumEnv(env, look="plain", render_mode="rgb_array", size=48)
    with warnings.catch_warnings():
        # What the checker notes of every environment made without `gymnasium.make`, and of every CartPole, gymnasium's
        # own too: velocities have no bound.
        warnings.filterwarnings("ignore", message=".*not having a spec.*|.*was not found in.*|.*spec.*None.*")
        warnings.filterwarnings(
            "ignore", message=".*Box observation space m(in|ax)imum value is -?infinity.*"
        )
        check_env(made, skip_render_check=True)
    made.reset(seed=1)
    frame = made.render()
    assert (frame.shape, frame.dtype) == ((48, 48, 3), np.uint8)


def test_seed_repeats_an_episode_and_the_limit_truncates():
    env = GymnasiumEnv(TimeLimit(CartPole(), 3))
    episodes = []
    for _ in range(2):
        rows = [env.reset(seed=5)[0]]
        for _ in range(3):
            observation, reward, terminated, truncated, info = env.step(1)
            rows.append(observation)
        assert (terminated, truncated) == (False, True)
        assert isinstance(reward, float)
        assert info["success"] is True
        episodes.append(rows)
    np.testing.assert_array_equal(*episodes)
    assert not np.array_equal(env.reset()[0], episodes[0][0])
    assert env.render() is None


def play(env, size):
    """Each of its three programs once."""
    made = GymnasiumEnv(env, look="plain", render_mode="rgb_array", size=size)
    made.reset(seed=0)
    made.step(1)
    assert made.render().shape == (size, size, 3)


def test_products_are_exact():
    """Accelerators round them by default, and training does not let them."""
    env = Products()
    play(env, size=8)
    assert env.seen == {"reset": {EXACT}, "step": {EXACT}, "render": {EXACT}}


def test_equal_environments_share_their_programs():
    first, equal, other = Products("cosine"), Products("cosine"), Products("cosine", early_termination=True)
    for env in (first, equal, other):
        play(env, size=9)
    assert set(first.seen) == set(other.seen) == {"reset", "step", "render"}
    assert not equal.seen  # nothing was traced again
    play(equal, size=10)
    assert set(equal.seen) == {"render"}


def test_errors_name_the_way_out(monkeypatch):
    with pytest.raises(ConfigError, match="'human': choose None or 'rgb_array'"):
        GymnasiumEnv(CartPole(), render_mode="human")
    with pytest.raises(ConfigError, match="size is 0; a frame has 1 pixel"):
        GymnasiumEnv(CartPole(), render_mode="rgb_array", size=0)
    with pytest.raises(ConfigError, match="unknown camera 'moon'; cartpole has default"):
        GymnasiumEnv(CartPole(), render_mode="rgb_array", camera="moon")
    with pytest.raises(ConfigError, match="call reset first"):
        GymnasiumEnv(CartPole()).step(0)
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, adapter.__name__)
    with pytest.raises(ConfigError, match="pip install 'jaxvlm"):
        importlib.import_module(adapter.__name__)
