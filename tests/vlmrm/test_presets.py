import dataclasses

import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.vlmrm import PRESETS, TrainConfig, preset
from jaxvlm.vlmrm.config import validate_config
from tests.vlmrm.conftest import tiny_config


def test_paper_preset_holds_the_values_of_appendix_c():
    dqn = preset("cartpole", "dqn", "paper")
    assert dqn.steps == 3_000_000
    assert dqn.learning_starts == 75_000
    assert dqn.updates == 200
    assert dqn.algorithm.learning_rate == 2.3e-3
    assert dqn.algorithm.hidden_sizes == (256, 256)
    assert not dqn.algorithm.bootstrap_at_truncation
    assert not dqn.reward.standardise
    sac = preset("mountain-car", "sac", "paper")
    assert sac.algorithm.tau == 0.01
    assert sac.algorithm.discount == 0.9999
    assert sac.algorithm.learning_rate == 1e-4
    assert (sac.algorithm.entropy, sac.algorithm.entropy_coefficient) == ("fixed", 0.1)
    assert sac.algorithm.actor_hidden_sizes == (64, 64)


def test_paper_text_updates_once_a_step_and_bootstraps():
    config = preset("cartpole", "dqn", "paper-text")
    assert config.updates == config.steps_per_iteration
    assert config.algorithm.bootstrap_at_truncation


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("algorithm", ["dqn", "sac"])
def test_presets_are_valid_and_survive_a_config_file(name, algorithm):
    config = preset("task", algorithm, name)
    validate_config(config)
    import json

    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_preset_and_unknown_setting():
    with pytest.raises(ConfigError, match="'fast'"):
        preset("cartpole", "dqn", "fast")
    with pytest.raises(ConfigError, match="train anew"):
        TrainConfig.from_dict({**tiny_config().to_dict(), "colour": "red"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"num_envs": 0}, "num-envs is 0"),
        ({"seed": -1}, "may not be negative"),
        ({"learning_starts": 10**9}, "training ends at"),
        ({"buffer_size": 10}, "buffer-size is 10"),
        ({"algorithm_discount": 1.2}, "discount is 1.2"),
        ({"reward_chunk": -3}, "chunk is -3"),
    ],
)
def test_settings_that_cannot_work(changes, message):
    config = tiny_config(**changes)
    assert dataclasses.is_dataclass(config)
    with pytest.raises(ConfigError, match=message):
        validate_config(config)
