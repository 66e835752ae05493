"""A CLIP's opinion of our frames and of MuJoCo's own: what is learned from one holds for the other.

Both sides sample a pixel once. With multisampling MuJoCo mixes the floor into the row of pixels above the horizon. The
embedded CLIP, which has seen no other horizon, takes that row to mean something.
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

POSES = 200
MODIFIED = ((0.0, 0.0, 1.0), 3.5, 180.0, -10.0)


def unit(embeddings) -> np.ndarray:
    embeddings = np.asarray(embeddings, np.float64)
    return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)


@pytest.mark.slow
def test_clip_thinks_of_our_frames_what_it_thinks_of_mujocos(tmp_path):
    name = os.environ.get("JAXVLM_PARITY_CLIP", "tiny:humanoid")
    clip, params = load(name, jnp.float32)
    size = clip.config.image_size
    model = copy.copy(load_model("textured"))
    model.vis.quality.offsamples = 0
    states = np.asarray(sample_qpos(jax.random.key(21), POSES, make_library()))
    native = draw_natively(tmp_path, [(model, states, MODIFIED, size)])["rgb_0"]

    camera, assets, data = free_camera(*MODIFIED), make_ray_assets(model), mujoco.MjData(model)
    draw = jax.jit(lambda *a: to_uint8(render_ray(*a, size)))
    ours = []
    for qpos in states:
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        ours.append(np.asarray(draw(scene_from_data(data), assets, camera)))

    encode = jax.jit(lambda params, frames: clip.apply(params, frames, method="encode_image"))
    of_ours, of_native = unit(encode(params, np.asarray(ours))), unit(encode(params, native))
    cosine = (of_ours * of_native).sum(-1)
    dataset = captioned_dataset("humanoid")
    prompts = [dataset.concept(goal.concept).wordings[0] for goal in dataset.goals]
    texts = unit(embed_texts(clip, params, load_tokenizer(name), prompts))
    agreement = {
        goal.concept: spearman(of_ours @ text, of_native @ text)
        for goal, text in zip(dataset.goals, texts, strict=True)
    }
    print(f"cosine {cosine.mean():.4f} mean, {cosine.min():.4f} least; rank correlation {agreement}")
    assert cosine.mean() >= 0.98
    assert min(agreement.values()) >= 0.95, agreement
