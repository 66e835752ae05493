"""What XLA has to be told to compile these programs in seconds."""

from functools import cache

import jax

# XLA for GPUs compiles every loop several times over, by two code generators and with several tilings, to choose the
# fastest. A ray-cast picture, one loop of a few thousand operations, takes the second of them a minute each time
# (jax 0.11.2: not done after four minutes on an H200; 5 seconds without).
_FUSION_AUTOTUNER = "xla_gpu_experimental_enable_fusion_autotuner"


@cache
def compiler_options() -> dict[str, bool]:
    """Options for `jax.jit(..., compiler_options=...)` of whatever draws; none where the backend needs or knows none.

    For the outermost `jit` alone: jax takes no options inside another.

    Outside `jit` the same is said by `XLA_FLAGS=--xla_gpu_experimental_enable_fusion_autotuner=false`.
    """
    if jax.default_backend() not in ("gpu", "cuda"):
        return {}
    options = {_FUSION_AUTOTUNER: False}
    try:
        jax.jit(lambda: 0.0, compiler_options=options).lower().compile()
    except Exception:  # an XLA without the option refuses it, by whatever error its version has
        return {}
    return options
