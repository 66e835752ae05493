"""From settings to a program: loads CLIP, embeds the prompts, makes agent and buffer, checks what can be checked."""

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.clip.patches import image_bytes
from jaxvlm.errors import ConfigError
from jaxvlm.render import RayAssets
from jaxvlm.reward import (
    Label,
    RewardParams,
    Seen,
    check_label,
    make_reward_params,
    validate_alpha,
    validate_phases,
)
from jaxvlm.rl import (
    DQN,
    SAC,
    DQNConfig,
    DQNHyper,
    SACConfig,
    SACHyper,
    make_dqn,
    make_replay_buffer,
    make_sac,
    replay_spec,
    validate_dqn_hyper,
    validate_sac_hyper,
)
from jaxvlm.rl.buffer import free_memory
from jaxvlm.runtime.files import expand
from jaxvlm.vlmrm.config import DQNSettings, RewardSettings, TrainConfig, validate_config
from jaxvlm.vlmrm.program import Inputs, Program, mix_of, steps_of
from jaxvlm.vlmrm.shortcuts import with_shortcuts

SHOWN = 5  # names in a note


@dataclass(frozen=True)
class Tower:
    """A CLIP checkpoint that is ready to score frames."""

    name: str  # what was asked for, with its domain
    clip: Any  # the flax module
    params: Any = field(repr=False)  # its variables
    tokenizer: Any = field(repr=False)

    @property
    def size(self) -> int:
        """Side of the frames it takes, pixels."""
        return self.clip.config.vision.image_size

    @property
    def tokens(self) -> int:
        """Tokens of a frame in the image tower."""
        return self.clip.config.vision.num_positions

    def encode(self, params: Any, frames: jax.Array) -> jax.Array:
        """u8[b, size, size, 3] -> f32[b, e], not normalised.

        Raises:
          ConfigError: the frames are of another type or size. `render` draws floats in [0, 1], which the model itself
            would take as normalised by the checkpoint's mean and deviation, and embed something else.
        """
        if frames.dtype != jnp.uint8:
            raise ConfigError(
                f"frames are {frames.dtype}; encode takes uint8 in 0..255: jaxvlm.render.to_uint8 turns drawn floats "
                "in [0, 1] into them, and what jaxvlm.clip.preprocess returns goes through "
                'clip.apply(params, frames, method="encode_image")'
            )
        return self.clip.apply(params, frames, method="encode_image")

    def embed(self, prompts: Any) -> jax.Array:
        """Prompts to normalised embeddings, f32[p, e], from the user's cache where they are there.

        Raises ConfigError for prompts that `embed_prompts` refuses, a single string among them.
        """
        from jaxvlm.clip import embed_prompts
        from jaxvlm.runtime import prompt_cache_folder

        # A string is handed on as it is and refused there; as a list it would be letters.
        prompts = prompts if isinstance(prompts, str) else list(prompts)
        folder = prompt_cache_folder()
        if folder is None:
            return embed_prompts(self.clip, self.params, self.tokenizer, prompts)
        from jaxvlm.clip.prompt_cache import embed_cached

        return embed_cached(
            self.clip, self.params, self.tokenizer, prompts, digest=self.digest, folder=folder
        )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the weights, see `digest`."""
        return digest(self.params)


@dataclass(frozen=True)
class Built:
    """A program with its arguments."""

    program: Program
    inputs: Inputs
    hyper: Any
    notes: tuple[str, ...]  # what the user should know before training starts
    clip_digest: str | None = None  # SHA-256 of the checkpoint's weights; None without a CLIP reward
    opposite: jax.Array | None = (
        None  # f32[e], mean of the opposite prompts' normalised embeddings, if asked for
    )


def load_tower(name: str, domain: str = "", size: int = 0) -> Tower:
    """Loads `tiny`, `untrained`, a directory or a hub name.

    `domain` says which embedded model `tiny` or `untrained` means, as `tiny:<domain>` does; others need none. `size` is
    the side of its frames in pixels, 0 the checkpoint's own.
    """
    from jaxvlm.clip import load, load_tokenizer

    name = _of_domain(name, domain)
    clip, params = load(name, image_size=size or None)
    return Tower(name=name, clip=clip, params=params, tokenizer=load_tokenizer(name))


def find_tower(name: str, domain: str, size: int = 0) -> tuple[str, Any]:
    """Name and tokenizer of what `load_tower` will load, without reading its weights; what is on the hub is fetched.

    Raises:
      CheckpointError: there is no such checkpoint, or its config or tokenizer cannot be read.
      ConfigError: its model is not supported, or takes no frames of this size.
    """
    from jaxvlm.clip import load_config, load_tokenizer
    from jaxvlm.clip.positions import resize_config

    name = _of_domain(name, domain)
    config = load_config(name)
    if size not in (0, config.image_size):
        resize_config(config, size)
    return name, load_tokenizer(name)


def _of_domain(name: str, domain: str) -> str:
    """`tiny:<domain>` for `tiny`, and so on."""
    return f"{name}:{domain}" if domain and name in ("tiny", "untrained") else name


def digest(params: Any) -> str:
    """SHA-256 over names, dtypes and bytes of a parameter tree, as hexadecimal digits."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        # An array keeps what was copied to the host for as long as it lives; this handle is gone with the next leaf.
        array = np.asarray(leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape};".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def choose_chunk(tower: Tower, backend: str | None = None) -> int:
    """Frames to draw and encode at a time: small enough for a CPU's cache, large enough to fill an accelerator.

    Never more than fit into a quarter of the memory that is free, see `most_frames`.
    """
    if (backend or jax.default_backend()) == "cpu":
        # About a thousand tokens: with 65 tokens a frame, 16 frames take four fifths of the time of 64.
        wanted = int(min(64, 2 ** round(math.log2(max(4.0, 1024 / tower.tokens)))))
    else:
        wanted = 2048 if tower.size <= 128 else 512
    fitting = most_frames(tower)
    return wanted if fitting is None or fitting >= wanted else 2 ** int(math.log2(fitting))


def most_frames(tower: Tower, free: int | None = None) -> int | None:
    """Frames that can be drawn and encoded at a time in a quarter of the device's free memory; None where nobody tells.

    A quarter: replay buffers and rollouts are allocated later. `free` is in bytes; None asks the device.
    """
    free = free_memory() if free is None else free
    if free is None:
        return None
    dtype = jax.tree.leaves(tower.params["params"]["visual"])[0].dtype  # not that of the temperature
    encoding = image_bytes(tower.clip.config, dtype, tower.clip.attention, tower.clip.keep)
    # Drawing: some float32 pictures, of colours, distances and normals.
    drawing = 64 * tower.size**2
    return max(1, free // 4 // (encoding + drawing))


def validate_look(look: str, env: Any) -> None:
    """Raises `ConfigError` for a look that the environment lacks."""
    if look not in env.looks:
        raise ConfigError(f"unknown look {look!r}; this task can be drawn as {', '.join(env.looks)}")


def validate_cameras(cameras: Sequence[str], env: Any) -> None:
    """Raises `ConfigError` for a camera that the environment lacks, and where none is named."""
    if not cameras:
        raise ConfigError(f"no camera is given; this task has {', '.join(env.cameras)}")
    for camera in cameras:
        if camera not in env.cameras:
            raise ConfigError(f"unknown camera {camera!r}; this task has {', '.join(env.cameras)}")


def build_reward(settings: RewardSettings, env: Any, tower: Tower) -> tuple[RewardParams, tuple[str, ...]]:
    """Reward parameters, and notes: on what of a model is not drawn, and on words that the checkpoint never saw.

    Raises:
      ConfigError: a camera that the environment lacks, or prompts that do not fit together.
    """
    validate_cameras(settings.camera, env)
    assets = env.assets(settings.look)
    params = make_reward_params(
        tower.params,
        tower.embed,
        goal_prompts=settings.prompt,
        then_prompts=settings.then,
        baseline_prompts=settings.baseline,
        negative_prompts=settings.negative,
        alpha=settings.alpha,
        temperature=settings.temperature,
        sigmoid=settings.sigmoid,
        assets=assets,
        cameras=[env.cameras[camera] for camera in settings.camera],
    )
    notes = []
    if isinstance(assets, RayAssets) and (left_out := assets.spec.left_out):
        more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        notes.append(
            f"{', '.join(left_out[:SHOWN])}{more} cannot be seen: MuJoCo shows sites, tendons and skins, but here only "
            "geoms are drawn, so a sentence about them means nothing"
        )
    for prompt in (*settings.prompt, *settings.then, *settings.baseline, *settings.negative):
        unknown = tower.tokenizer.unknown_words(prompt)
        if unknown:
            notes.append(
                f"{tower.name} has never seen {', '.join(map(repr, unknown))} of {prompt!r}: it knows its own "
                "scenes and their captions, not the language; see `jaxvlm clip check`"
            )
    return params, tuple(notes)


def build_agent(config: TrainConfig, env: Any, env_params: Any) -> tuple[DQN | SAC, Any]:
    """The algorithm's functions and its numeric hyperparameters."""
    settings = config.algorithm
    observation_space, action_space = env.observation_space(env_params), env.action_space(env_params)
    if isinstance(settings, DQNSettings):
        agent = make_dqn(
            DQNConfig(
                hidden_sizes=settings.hidden_sizes,
                double=settings.double,
                target=settings.target,
                target_sync=settings.target_sync,
                bootstrap_at_truncation=settings.bootstrap_at_truncation,
            ),
            observation_space,
            action_space,
        )
        hyper = DQNHyper(
            learning_rate=settings.learning_rate,
            discount=settings.discount,
            tau=settings.tau,
            target_period=settings.target_period,
            epsilon_start=settings.epsilon_start,
            epsilon_end=settings.epsilon_end,
            epsilon_steps=settings.exploration_fraction * config.falling_steps,
            max_grad_norm=settings.max_grad_norm,
        )
        validate_dqn_hyper(hyper)
    else:
        agent = make_sac(
            SACConfig(
                actor_hidden_sizes=settings.actor_hidden_sizes,
                critic_hidden_sizes=settings.critic_hidden_sizes,
                critic_layer_norm=settings.critic_layer_norm,
                entropy=settings.entropy,
                bootstrap_at_truncation=settings.bootstrap_at_truncation,
            ),
            observation_space,
            action_space,
        )
        target_entropy = settings.target_entropy
        if target_entropy is None:
            target_entropy = -float(action_space.shape[0])
        hyper = SACHyper(
            learning_rate=settings.learning_rate,
            discount=settings.discount,
            tau=settings.tau,
            target_entropy=target_entropy,
            entropy_coefficient=settings.entropy_coefficient,
            action_noise=settings.action_noise,
        )
        validate_sac_hyper(hyper)
    return agent, jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), hyper)


def _whole_path(name: str) -> str:
    """A checkpoint's name that still holds where a run is resumed from another working directory."""
    from jaxvlm.clip import embedded_domains
    from jaxvlm.clip.checkpoint import split_untrained

    if name.partition(":")[0] != "untrained":
        folder = expand(name)
        return str(folder.resolve()) if name != "tiny" and folder.is_dir() else name
    place, seed = split_untrained(name)
    folder = expand(place)
    if name == "untrained" or place in embedded_domains() or not folder.is_dir():
        return name
    return f"untrained:{folder.resolve()}:{seed}"


def _scheduled(config: TrainConfig, env: Any, env_params: Any) -> Any:
    """Parameters with the phases where the config wants them.

    Raises:
      ConfigError: sentences or steps of phases that the environment does not have.
    """
    phases, then = getattr(env, "phases", 1), config.reward.then
    if phases == 1 and (then or config.at):
        given = f"--then {then[0]!r}" if then else f"--at {config.at[0]}"
        raise ConfigError(
            f"{given} is given, but {config.task} has one phase; choose a task of several, such as "
            "humanoid-stand-then-kneel or humanoid-standing-then-lotus"
        )
    if then and len(then) != phases - 1:
        raise ConfigError(
            f"--then gives {len(then)} sentences, but {config.task} has {phases} phases: give {phases - 1}, one for "
            "each phase after the first"
        )
    return env.with_starts(env_params, config.at) if config.at else env_params


def _ends(config: TrainConfig, env: Any) -> str | None:
    """Why episodes can end for good in the Bellman target, as far as an environment says so; None where it does not."""
    if not config.algorithm.bootstrap_at_truncation:
        return "--bootstrap-at-truncation False stores the time limit as an end"
    inner = env
    while inner is not None:  # below its time limit, its phases, its judge
        if getattr(inner, "early_termination", False):
            return f"episodes of {config.task} can end before their time limit"
        inner = getattr(inner, "env", None)
    return None


def validate_run(config: TrainConfig, env: Any, env_params: Any, label: Label | None = None) -> Any:
    """Everything about a run that can be refused without loading or making anything; `label` is that of `build`.

    Returns:
      The environment's parameters, with the phases where the config wants them.

    Raises:
      ConfigError: the first thing that cannot work.
    """
    validate_config(config)
    settings = config.reward
    # Look and cameras are those of the pictures after training too, whatever the reward.
    validate_look(settings.look, env)
    validate_cameras(settings.camera, env)
    alpha = validate_alpha(settings.alpha)
    if settings.reward == "own" and label is None:
        raise ConfigError(
            f"--reward is own, but {config.task} has no reward of its own: give its Task a `label` (docs/your-own.md), "
            "or choose clip, mix or ground-truth"
        )
    if settings.reward != "own" and label is not None:
        raise ConfigError(
            f"a label is given, but --reward is {settings.reward}; set it to own, or leave the label out"
        )
    if settings.scores_pictures:
        validate_phases(
            settings.prompt, settings.then, settings.baseline, settings.negative, alpha, settings.sigmoid
        )
        if not 0 < settings.temperature < float("inf"):
            raise ConfigError(
                f"temperature is {settings.temperature!r}; the softmax over prompts needs one above 0"
            )
    return _scheduled(config, env, env_params)


def build(
    config: TrainConfig,
    env: Any,
    env_params: Any,
    *,
    domain: str,
    holds_buffer: bool = True,
    opposite_prompts: Sequence[str] = (),
    label: Label | None = None,
) -> Built:
    """Makes the program of a run.

    Args:
      config: the settings; checked first.
      env: environment with its time limit.
      env_params: its numeric parameters.
      domain: which embedded CLIP `tiny` means.
      holds_buffer: whether the replay buffer will be in memory, which has to be free for it: in training and where a
        whole checkpoint is read, not where the best agents act.
      opposite_prompts: sentences that should score low at the goal; embedded for `Built.opposite`, since a program
        keeps no text tower.
      label: makes the reward that is learned from, for `--reward own`: a pure function `(clip, truth, seen)` of CLIP's
        reward of a row, the environment's and what else is known (`jaxvlm.reward.Seen`). It becomes a part of the
        program, and what it closes over a constant there.

    Raises:
      JaxvlmError: the first thing that cannot work, before anything is compiled or written.
    """
    env_params = validate_run(config, env, env_params, label)
    settings = config.reward
    # The buffer is checked against memory before CLIP is loaded: the cheaper refusal first.
    buffer = make_replay_buffer(
        config.buffer_rows,
        config.num_envs,
        replay_spec(env.observation_space(env_params), env.action_space(env_params)),
        num_seeds=config.seeds,
        check=holds_buffer,
    )
    agent, hyper = build_agent(config, env, env_params)
    reward, notes, tower, size, weights, opposite = None, (), None, 0, None, None
    if settings.scores_pictures:
        settings = replace(settings, clip=_whole_path(settings.clip))
        tower = load_tower(config.reward.clip, domain, settings.clip_size)
        weights = tower.digest
        reward, notes = build_reward(settings, env, tower)
        if opposite_prompts:
            opposite = jnp.mean(tower.embed(opposite_prompts), axis=0)
        tower, more = with_shortcuts(tower, settings, env, env_params)
        # Of the towers a program keeps the one that it runs: bigG's text tower alone takes 1.4 GB.
        reward = replace(reward, clip={"params": {"visual": tower.params["params"]["visual"]}})
        notes = (*notes, *more)
        size = tower.size
    # Weights come as an argument: an encoder that held them too would keep a copy for each of several tasks.
    encode = replace(tower, params=None).encode if tower else None
    if label is not None:
        check_label(label, *_one_row(env, env_params, reward, encode, size))
    if settings.standardise and not config.learning_starts:
        notes = (
            *notes,
            "--learning-starts 0: no reward is seen before learning starts, so --standardise has nothing to go by and "
            "rewards stay as they are",
        )
    elif settings.standardise and (ends := _ends(config, env)):
        notes = (
            *notes,
            f"{ends}: what is left of an episode is worth 0 there, so that --standardise, which shifts rewards, can "
            "change which policy is optimal; --standardise False leaves them as they are",
        )
    chunk = settings.chunk or (choose_chunk(tower) if tower else 1)
    fitting = most_frames(tower) if tower else None
    if fitting is not None and chunk > fitting:
        notes = (
            *notes,
            f"--chunk {chunk}: {fitting} frames at a time fit into the free memory, and no more are taken",
        )
        chunk = fitting
    return Built(
        program=Program(
            config=replace(config, reward=replace(settings, chunk=chunk)),
            env=env,
            agent=agent,
            buffer=buffer,
            action_space=env.action_space(env_params),
            encode=encode,
            frame_size=size,
            chunk=chunk,
            label=label,
        ),
        inputs=Inputs(env_params=env_params, reward=reward, steps=steps_of(config), mix=mix_of(settings)),
        hyper=hyper,
        notes=notes,
        clip_digest=weights,
        opposite=opposite,
    )


def _one_row(
    env: Any, env_params: Any, reward: RewardParams | None, encode: Any, size: int
) -> tuple[Any, ...]:
    """What a label is called with: CLIP's reward of a row, the environment's, and `Seen`; shapes and dtypes alone."""

    def row(key: jax.Array, params: Any, reward: Any) -> tuple[Any, ...]:
        observation, state = env.reset(key, params)
        action = env.action_space(params).sample(key)
        _, state, _, _, _, info = env.step(key, state, action, params)
        embedding = None
        if reward is not None:
            views = jax.tree.leaves(reward.cameras)[0].shape[0]
            embedding = encode(reward.clip, jnp.zeros((views, size, size, 3), jnp.uint8))
        seen = Seen(env.scene(state, params), observation, action, embedding, info.get("phase"))
        return None if reward is None else jnp.float32(0), jnp.float32(0), seen

    return jax.eval_shape(row, jax.random.key(0), env_params, reward)
