"""CLIP checkpoints: from a name to a directory, read strictly, written for others to read."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.clip import openclip
from jaxvlm.clip.aliases import ALIASES, alias_hint
from jaxvlm.clip.config import CLIPConfig
from jaxvlm.clip.layout import Entry, huggingface_entries, leaf, nest
from jaxvlm.clip.model import CLIP, param_shapes, random_init
from jaxvlm.clip.positions import resize_config, resize_positions
from jaxvlm.clip.tensors import StoredTensor, stored_tensors
from jaxvlm.errors import CheckpointError, ConfigError, JaxvlmError
from jaxvlm.runtime.files import expand

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
)

# Whose rounding would shift every score; they stay float32.
_FLOAT32 = (("logit_scale",), ("logit_bias",))

_FILES_WANTED = (
    f"{CONFIG}, {WEIGHTS}, {PREPROCESSOR} and tokenizer.json (or vocab.json and merges.txt), or OpenCLIP's "
    f"{openclip.CONFIG} and {openclip.WEIGHTS}"
)

_PICKLES_OF_THE_HUB = (
    "Of a hub's repository pickled weights are not fetched: where there are no others, download it yourself into a "
    "directory and give that, and the way to convert them is told"
)


def resolve(name_or_path: str | Path) -> Path:
    """The directory that a checkpoint's name means.

    `tiny:<domain>` is the embedded CLIP of a domain (of the humanoid there is a larger one too, `tiny:humanoid-112`);
    `untrained:<domain>[:<seed>]` is the same directory, and
    `untrained:<directory>[:<seed>]` a local one, of which `load` takes all but the weights; then a local directory;
    then `owner/name` on the Hugging Face hub (or `hf-hub:owner/name`, as OpenCLIP writes it), or one of `ALIASES`,
    from the local cache if it is there and over the network otherwise, with the hub client's progress bar on a
    terminal. A download that was cut off is no checkpoint: the next call fetches what is missing. Raises
    CheckpointError.
    """
    name = str(name_or_path)
    kind, _, rest = name.partition(":")
    if kind == "tiny":
        return _embedded(name, rest)
    if kind == "untrained":
        place, _ = split_untrained(name)
        return expand(place) if _is_own_folder(place) else _embedded(name, place)
    path = expand(name_or_path)
    if path.is_dir():
        return path
    if path.is_file():
        raise CheckpointError(f"{name!r} is a file; give the directory that holds {_FILES_WANTED}")
    name = name.removeprefix("hf-hub:")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise CheckpointError(
            f"CLIP checkpoint {name!r} is not a directory here; give a directory that holds {_FILES_WANTED}, "
            f"a hub name such as 'openai/clip-vit-large-patch14', or one of {', '.join(_tiny_names())}"
            f"{alias_hint(name)}"
        )
    return _from_hub(ALIASES.get(name, name), name)


def load(
    name_or_path: str | Path,
    dtype: Any = None,
    image_size: int | None = None,
    convention: str | None = None,
) -> tuple[CLIP, dict]:
    """Reads a checkpoint: the model and its parameters, `{"params": ...}` of plain dicts.

    Args:
        name_or_path: what `resolve` takes; `untrained:<domain or directory>[:<seed>]` draws the weights.
        dtype: of every parameter but `logit_scale` and `logit_bias`, which stay float32; when not given, float32 on
            CPU and bfloat16 elsewhere.
        image_size: side of the frames in pixels, where a ViT is to take others than the checkpoint's own.
        convention: how its positional embeddings are then resampled (see `resize_positions`); when not given, as the
            library does whose layout the checkpoint has.

    The weights are read and put on the device one parameter at a time, so host memory never holds them twice.

    Raises CheckpointError when a file is missing or a tensor is missing, left over or of another shape, and
    ConfigError when the config describes a model that is not supported or the frames do not divide into its patches.
    """
    directory = resolve(name_or_path)
    config = load_config(directory)
    image_size = config.image_size if image_size is None else image_size
    if image_size != config.image_size:
        resize_config(config, image_size)  # refuses before the weights are read
    if not _is_openclip(directory) and not (directory / PREPROCESSOR).is_file():
        # Other means and deviations than those of its training make a CLIP's scores noise, and nothing shows it.
        raise CheckpointError(
            f"{directory} has no {PREPROCESSOR}, which says how frames are normalised; put that of the checkpoint "
            f"there (save_pretrained of its image processor writes it): a checkpoint needs {_FILES_WANTED}"
        )
    dtype = jnp.dtype(dtype or (jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16))
    name = str(name_or_path)
    if name.startswith("untrained:"):
        seed = split_untrained(name)[1]
        params = random_init(config, jax.random.key(seed), dtype)["params"]
    else:
        params = _read_params(directory, config, dtype)
    if image_size != config.image_size:
        convention = convention or ("openclip" if _is_openclip(directory) else "transformers")
        config, variables = resize_positions(config, {"params": params}, image_size, convention)
        params = variables["params"]
    return CLIP(config), {"params": params}


def load_config(name_or_path: str | Path) -> CLIPConfig:
    """Reads `config.json` and, where it is there, `preprocessor_config.json`; CLIP's own preprocessing otherwise.

    In OpenCLIP's layout both are in `open_clip_config.json`. What only reads sentences needs no preprocessing; `load`
    insists on the file. Raises CheckpointError for a file that is missing or broken and ConfigError for a model that is
    not supported.
    """
    directory = resolve(name_or_path)
    if _is_openclip(directory):
        with _named(directory / openclip.CONFIG):
            return openclip.config_from_openclip(_read_json(directory, openclip.CONFIG))
    config = _read_json(directory, CONFIG)
    preprocessor = _read_json(directory, PREPROCESSOR) if (directory / PREPROCESSOR).is_file() else None
    with _named(directory / CONFIG):
        return CLIPConfig.from_dict(config, preprocessor)


def tokenizer_settings(directory: Path) -> dict[str, Any]:
    """What `tokenizer_config.json` says, if it is there, and under `clean` what OpenCLIP's config says of sentences."""
    file = "tokenizer_config.json"
    settings = _read_json(directory, file) if (directory / file).is_file() else {}
    settings.pop("clean", None)
    if _is_openclip(directory):
        with _named(directory / openclip.CONFIG):
            text = _read_json(directory, openclip.CONFIG)["model_cfg"]["text_cfg"]
            settings["clean"] = (text.get("tokenizer_kwargs") or {}).get("clean", "whitespace")
    return settings


def save_checkpoint(path: str | Path, config: CLIPConfig, params: Mapping, dtype: Any = jnp.float32) -> Path:
    """Writes `config.json`, `preprocessor_config.json` and `model.safetensors` for transformers' CLIPModel
    or SiglipModel.

    `params` is the tree that `load` and `random_init` return, `dtype` that of the file (float16 halves it;
    `logit_scale` and `logit_bias` stay float32). The directory is made if need be. Raises CheckpointError when a
    parameter is not finite in `dtype` or the tree is not the config's.
    """
    from safetensors.numpy import save_file

    described = config.to_dict()
    expected = jax.tree.map(
        lambda x: x.shape, param_shapes(config)["params"], is_leaf=lambda x: hasattr(x, "shape")
    )
    found = jax.tree.map(lambda x: tuple(x.shape), dict(params["params"]))
    if found != expected:
        raise CheckpointError(
            "the parameters do not have the shapes of the config; save them with the config of their model"
        )
    tensors = {}
    for entry in huggingface_entries(config):
        given = np.asarray(leaf(params["params"], entry.path), np.float32)
        kind = np.dtype(np.float32) if entry.path in _FLOAT32 else jnp.dtype(dtype)
        with np.errstate(over="ignore"):
            value = given.astype(kind)
        if not np.isfinite(given).all():
            raise CheckpointError(
                f"parameter {'/'.join(entry.path)} is not finite; train or load the model anew"
            )
        if not np.isfinite(value.astype(np.float32)).all():
            raise CheckpointError(
                f"parameter {'/'.join(entry.path)} is not finite as {kind}; save as float32 or bfloat16"
            )
        for name, tensor in zip(entry.names, entry.write(value), strict=True):
            tensors[name] = np.array(tensor, order="C")
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG).write_text(json.dumps(described, indent=2) + "\n")
    (directory / PREPROCESSOR).write_text(json.dumps(config.preprocessor_dict(), indent=2) + "\n")
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    return directory


def embedded_domains() -> list[str]:
    """The domains that have an embedded CLIP."""
    assets = resources.files("jaxvlm") / "assets"
    if not assets.is_dir():
        return []
    return sorted(child.name for child in assets.iterdir() if (child / CONFIG).is_file())


def _tiny_names() -> list[str]:
    return [f"tiny:{domain}" for domain in embedded_domains()] or ["tiny:<domain> (none is installed)"]


def _embedded(name: str, domain: str) -> Path:
    if domain not in embedded_domains():
        kind = name.partition(":")[0]
        known = ", ".join(x.replace("tiny", kind, 1) for x in _tiny_names())
        raise CheckpointError(
            f"there is no embedded CLIP {name!r}; known: {known}; name another with --clip, or "
            + (
                f"train one from its captions: jaxvlm clip train {domain}"
                if domain.endswith(".py")
                else "see `jaxvlm clip train` for what one can be trained for"
            )
            + (f", and {domain!r} is no directory here either" if kind == "untrained" else "")
        )
    return Path(str(resources.files("jaxvlm") / "assets" / domain))


def split_untrained(name: str) -> tuple[str, int]:
    """Domain or directory, and seed, of `untrained:<domain or directory>[:<seed>]`.

    Raises `ConfigError` for a seed that is no whole number.
    """
    place = name.removeprefix("untrained:")
    if place in embedded_domains() or _is_own_folder(place) or ":" not in place:
        return place, 0
    place, _, seed = place.rpartition(":")
    if not seed.isdecimal():
        raise ConfigError(
            f"{name!r}: the seed has to be one whole number, as in 'untrained:<domain or directory>:0'"
        )
    return place, int(seed)


def _is_own_folder(place: str) -> bool:
    """Whether weights are to be drawn for a directory; a domain comes first."""
    return bool(place) and place not in embedded_domains() and expand(place).is_dir()


def _from_hub(name: str, asked: str) -> Path:
    """The snapshot of a repository of the hub; errors say what was asked for."""
    from huggingface_hub import snapshot_download

    small = [CONFIG, PREPROCESSOR, openclip.CONFIG, WEIGHTS_INDEX, *TOKENIZER_FILES]
    place = "in the hub's cache"
    try:
        cached = Path(snapshot_download(name, allow_patterns=small, local_files_only=True))
        texts = (openclip.CONFIG,) if _is_openclip(cached) else (CONFIG, PREPROCESSOR)
        needed = (*texts, *_weight_names(cached))
        missing = [file for file in needed if not (cached / file).is_file()]
        if not missing:
            return cached
        place = f"whole in the hub's cache ({cached} has no {' and no '.join(missing)})"
    except (OSError, ValueError):
        pass  # not in the cache
    try:
        # The small files first: they tell which weights are meant of a repository that holds several.
        folder = Path(snapshot_download(name, allow_patterns=small))
        return Path(snapshot_download(name, allow_patterns=[*small, *_weight_names(folder)]))
    except JaxvlmError:
        raise
    except (
        Exception
    ) as error:  # the client's transport raises its own classes, which differ between its versions
        reason = str(error).strip().partition("\n")[0]
        what = repr(asked) if asked == name else f"{asked!r}, on the hub {name!r},"
        raise CheckpointError(
            f"{what} is neither a directory nor {place}, and the hub did not give it "
            f"({type(error).__name__}: {reason}); without network, put {_FILES_WANTED} "
            f"into a directory and give its path{alias_hint(asked)}"
        ) from error


def _read_json(directory: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads((directory / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{directory} has no {name}; a checkpoint needs {_FILES_WANTED}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{directory / name} is not valid JSON ({error}); fetch it again") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{directory / name} holds no JSON object; fetch it again")
    return data


def _is_openclip(directory: Path) -> bool:
    """Whether a directory is to be read in OpenCLIP's layout: Hugging Face's own comes first where both are there.

    Repositories of timm hold a `config.json` too, of an image tower alone.
    """
    if not (directory / openclip.CONFIG).is_file():
        return False
    return not (directory / CONFIG).is_file() or "model_type" not in _read_json(directory, CONFIG)


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Numbers that are none and the like, in a file that parsed, as a CheckpointError."""
    try:
        yield
    except JaxvlmError:
        raise
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        raise CheckpointError(f"{file} is not a config ({error}); fetch it again") from None


def _entries(directory: Path, config: CLIPConfig, names: Iterable[str]) -> list[Entry]:
    """Every parameter in the layout of the directory, whose files hold tensors of these names."""
    if _is_openclip(directory):
        return list(openclip.openclip_entries(config, names))
    return list(huggingface_entries(config))


def _weight_names(directory: Path) -> list[str]:
    """The files of weights that the small files of a checkpoint speak of, whether they are there or not."""
    if _is_openclip(directory):
        return [openclip.WEIGHTS]
    if (directory / WEIGHTS).is_file() or not (directory / WEIGHTS_INDEX).is_file():
        return [WEIGHTS]
    return _shards(directory)


def _shards(directory: Path) -> list[str]:
    """The files that the index of a checkpoint in several of them lists."""
    index = _read_json(directory, WEIGHTS_INDEX).get("weight_map")
    names = index.values() if isinstance(index, dict) else ()
    return sorted({name for name in names if isinstance(name, str)})


def _weight_files(directory: Path) -> list[Path]:
    pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in directory.glob(pattern))
    refused = (
        f"{directory} has only pickled weights ({', '.join(pickles)}), which can run code and are not read; "
        "where PyTorch is installed, convert files you trust: "
    )
    if _is_openclip(directory):
        if (directory / openclip.WEIGHTS).is_file():
            return [directory / openclip.WEIGHTS]
        if pickles:
            # OpenAI's own files are archives of TorchScript, which `torch.load` refuses; some hold transposed views.
            raise CheckpointError(
                f"{refused}weights = torch.load({pickles[0]!r}, weights_only=True), or of a TorchScript archive, as "
                f"OpenAI's files are, weights = torch.jit.load({pickles[0]!r}, map_location='cpu').state_dict(); then "
                "safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in weights.items()}, "
                f"{openclip.WEIGHTS!r})"
            )
        raise CheckpointError(
            f"{directory} has no {openclip.WEIGHTS}; put it beside {openclip.CONFIG}. {_PICKLES_OF_THE_HUB}"
        )
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    if (directory / WEIGHTS_INDEX).is_file():
        names = _shards(directory)
        missing = [name for name in names if not (directory / name).is_file()]
        if missing or not names:
            raise CheckpointError(
                f"{directory / WEIGHTS_INDEX} lists files that are not there: "
                f"{', '.join(missing) or '(none listed)'}; put them beside it"
            )
        return [directory / name for name in names]
    if pickles:
        raise CheckpointError(
            f"{refused}transformers.AutoModel.from_pretrained(directory).save_pretrained(directory)"
        )
    raise CheckpointError(
        f"{directory} has no {WEIGHTS}; a checkpoint needs {_FILES_WANTED}. {_PICKLES_OF_THE_HUB}"
    )


def _read_params(directory: Path, config: CLIPConfig, dtype: np.dtype) -> dict:
    """Streams the weights to the device: above the parameters, host memory holds one of them at a time."""
    shapes = param_shapes(config)["params"]
    where = {
        name: tensor
        for name, tensor in stored_tensors(_weight_files(directory)).items()
        # A buffer that old transformers versions stored: 0, 1, 2, ...
        if not name.endswith(".position_ids") and not openclip.ignored(name)
    }
    entries = _entries(directory, config, where)
    problems = list(_problems(entries, shapes, where))
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        source = openclip.CONFIG if _is_openclip(directory) else CONFIG
        raise CheckpointError(
            f"{directory}: the weights do not fit {source}: {'; '.join(problems[:8])}{more}; "
            "the two files have to be of one checkpoint"
        )
    leaves = {}
    for entry in entries:
        kind = jnp.dtype(jnp.float32) if entry.path in _FLOAT32 else dtype
        leaves[entry.path] = _on_device(entry, where, kind)
    return nest(leaves)


def _on_device(entry: Entry, where: Mapping[str, StoredTensor], dtype: np.dtype) -> jax.Array:
    value = entry.read(*(where[name].read() for name in entry.names))
    # In the order of the device and not of a transposed view: one conversion, on the host, of one parameter. Waiting
    # keeps parameters that are on their way from piling up in host memory.
    return jax.device_put(np.asarray(value, dtype, order="C")).block_until_ready()


def _problems(entries: Iterable[Entry], shapes: dict, where: Mapping[str, StoredTensor]) -> Iterator[str]:
    """What is missing, misshapen or left over, one phrase a tensor, found from the files' headers alone."""
    known = set()
    for entry in entries:
        known |= set(entry.names)
        blank = np.broadcast_to(np.float32(0), leaf(shapes, entry.path).shape)
        for name, expected in zip(entry.names, entry.write(blank), strict=True):
            if name not in where:
                yield f"missing {name}"
                continue
            tensor = where[name]
            if tensor.shape != expected.shape:
                yield f"{name} is {list(tensor.shape)} instead of {list(expected.shape)}"
            elif not tensor.readable:
                yield f"{name} holds {tensor.dtype} and not float16, bfloat16, float32 or float64"
    yield from (f"left over {name}" for name in sorted(set(where) - known))
