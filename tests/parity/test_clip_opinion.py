"""A CLIP's opinion of our frames and of MuJoCo's own: what is learned from one holds for the other.

Both sides sample a pixel alike. With MuJoCo's default of four samples it mixes the floor into the row of pixels above
the horizon, which one sample shows as sky. The embedded CLIP, which has seen no other horizon, takes that row to mean
something; docs/humanoid.md has the figures.
`JAXVLM_PARITY_CLIP` names another checkpoint than the embedded one.
"""

import copy
import os

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from parity.native import draw_natively

from envs.captions import captioned_dataset
from envs.humanoid.model import load_model
from envs.humanoid.poses import make_library, sample_qpos
from jaxvlm.clip import load, load_tokenizer
from jaxvlm.clip.figures import embed_texts
from jaxvlm.render import free_camera, make_ray_assets, render_ray, scene_from_data, to_uint8
from jaxvlm.reward import spearman

MODIFIED = ((0.0, 0.0, 1.0), 3.5, 180.0, -10.0)


def unit(embeddings) -> np.ndarray:
    embeddings = np.asarray(embeddings, np.float64)
    return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)


class Opinions:
    """Embeddings of pictures of the same poses, drawn in several ways, and of the goals' sentences."""

    def __init__(self, poses: int):
        name = os.environ.get("JAXVLM_PARITY_CLIP", "tiny:humanoid")
        self.clip, self.params = load(name, jnp.float32)
        self.size = self.clip.config.image_size
        self.encode = jax.jit(lambda params, frames: self.clip.apply(params, frames, method="encode_image"))
        self.states = np.asarray(sample_qpos(jax.random.key(21), poses, make_library()))
        dataset = captioned_dataset("humanoid")
        prompts = [dataset.concept(goal.concept).wordings[0] for goal in dataset.goals]
        texts = unit(embed_texts(self.clip, self.params, load_tokenizer(name), prompts))
        self.texts = dict(zip([goal.concept for goal in dataset.goals], texts, strict=True))

    def of_mujoco(self, folder, samples: int) -> np.ndarray:
        """Of MuJoCo's own frames."""
        model = copy.copy(load_model("textured"))
        model.vis.quality.offsamples = samples
        frames = draw_natively(folder, [(model, self.states, MODIFIED, self.size)])["rgb_0"]
        return unit(self.encode(self.params, frames))

    def of_ours(self, supersample: int) -> np.ndarray:
        """Of our frames, of supersample^2 rays a pixel."""
        model = load_model("textured")
        camera, assets, data = free_camera(*MODIFIED), make_ray_assets(model), mujoco.MjData(model)
        draw = jax.jit(lambda *a: to_uint8(render_ray(*a, self.size, supersample=supersample)))
        frames = []
        for qpos in self.states:
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            frames.append(np.asarray(draw(scene_from_data(data), assets, camera)))
        return unit(self.encode(self.params, np.asarray(frames)))

    def agree(self, ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
        """Cosines of the poses, and the rank correlation of the poses for each goal's sentence."""
        cosine = (ours * theirs).sum(-1)
        ranks = {goal: spearman(ours @ text, theirs @ text) for goal, text in self.texts.items()}
        print(f"cosine {cosine.mean():.4f} mean, {cosine.min():.4f} least; rank correlation {ranks}")
        return cosine, ranks


@pytest.mark.slow
def test_clip_thinks_of_our_frames_what_it_thinks_of_mujocos(tmp_path):
    opinions = Opinions(poses=200)
    cosine, ranks = opinions.agree(opinions.of_ours(1), opinions.of_mujoco(tmp_path, samples=0))
    assert cosine.mean() >= 0.98
    assert min(ranks.values()) >= 0.95, ranks


@pytest.mark.slow
def test_and_of_supersampled_frames_what_it_thinks_of_multisampled_ones(tmp_path):
    """MuJoCo's default; one ray a pixel is not enough there, which is the reason for the poses drawn alike above."""
    opinions = Opinions(poses=60)
    theirs = opinions.of_mujoco(tmp_path, samples=4)
    cosine, ranks = opinions.agree(opinions.of_ours(4), theirs)
    assert cosine.mean() >= 0.98
    assert min(ranks.values()) >= 0.93, ranks  # 0.96 of 200 poses
    once, _ = opinions.agree(opinions.of_ours(1), theirs)
    assert once.mean() < cosine.mean()
