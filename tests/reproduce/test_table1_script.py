"""Which seed `benchmarks/table1.py` puts in bold and pictures."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PATH = Path(__file__).parents[2] / "benchmarks" / "table1.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("table1_script", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path):
    """Kneeling by CLIP and its sheet, a row of grey a seed: seed 0 succeeds most, seed 2 earned most in training."""
    run = tmp_path / "kneeling-clip"
    (run / "videos").mkdir(parents=True)
    rewards = [[0.9, 0.1, 0.1, 0.1], [0.2, 0.1, 0.3, 0.2], [0.1, 0.25, 0.1, 0.2]]
    rows = [
        {"step": 100 * (k + 1), "iteration": k, "reward": reward, "success": [0.0] * 4}
        for k, reward in enumerate(rewards)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # The first row's rollout is of random actions, whose reward counts for nothing.
    (run / "config.json").write_text(json.dumps({"steps": 300, "learning_starts": 50}))
    # Of the evaluation seed 1 earned most, which does not count either.
    per_seed = {"success_rate": [1.0, 0.4, 0.7, 0.0], "mean_clip_reward": [0.1, 0.8, 0.2, 0.1]}
    result = {"episodes": 100, "success_rate": 0.525, "pose_fraction": 0.5, "per_seed": per_seed}
    (run / "evaluation.json").write_text(json.dumps(result))
    sheet = np.repeat(np.arange(4, dtype=np.uint8) * 60, 10)[:, None, None] * np.ones((1, 100, 3), np.uint8)
    Image.fromarray(sheet).save(run / "videos" / "best.png")
    return tmp_path


def test_the_agent_with_the_most_reward_in_training_is_in_bold(script, folder):
    row = script.table(["kneeling", "lotus"], folder).splitlines()[-1]
    assert row.startswith("| kneeling | 1.00 | **0.70** (1.00, 0.40, 0.70, 0.00) | 0.50 | - |")
    (folder / "kneeling-clip").rename(folder / "kneeling-textured-original")
    lines = script.ablation_table(folder).splitlines()[2:]
    assert [line.split("|")[3].strip() for line in lines] == ["-", "**0.70** (1.00, 0.40, 0.70, 0.00)", "-"]


def test_the_same_agent_is_pictured(script, folder):
    script.pictures(["kneeling"], folder, folder / "pictures")
    grey = np.asarray(Image.open(folder / "pictures" / "humanoid_table1.png").convert("L"))
    assert grey.shape[0] == 118  # one row
    assert grey[59, -100] == pytest.approx(120, abs=3)
    every = np.asarray(Image.open(folder / "pictures" / "humanoid_all_agents.png").convert("L"))
    np.testing.assert_allclose(every[32::64, -100], [0, 60, 120, 180], atol=3)
