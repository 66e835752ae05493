"""What a CLIP checkpoint says about itself: hashable configs read from and written to Hugging Face JSON."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxvlm.errors import ConfigError

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)  # SigLIP's mean and standard deviation

ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh")

# Published CLIP configs carry this wrong id; transformers keeps the pooling rule that made them work.
LEGACY_EOS = 2

# PIL's numbers for its filters, which is what preprocessor_config.json stores.
RESAMPLE_IDS = {"bilinear": 2, "bicubic": 3}


# What no tower has: larger numbers come from broken files, and would be found out by running out of memory or patience.
MOST, MOST_LAYERS, MOST_PIXELS = 2**24, 1000, 2**16


def check_counts(place: str, most: int = MOST, **values: Any) -> None:
    """Raises ConfigError for a value that is no whole number from 1 to `most`; `place` is where it was read."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ConfigError(f"{place}: {name} is {value!r}; it has to be a whole number from 1 to {most}")


def check_numbers(place: str, **values: Any) -> None:
    """Raises ConfigError for a value that is no finite number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigError(f"{place}: {name} is {value!r}; it has to be a finite number")


class _Transformer:
    """Checks that both towers share; a mixin, so that the fields stay in the order of the dataclass."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str
    layer_norm_eps: float

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def _check(self, tower: str) -> None:
        names = ("hidden_size", "intermediate_size", "num_attention_heads")
        check_counts(tower, **{name: getattr(self, name) for name in names})
        check_counts(tower, MOST_LAYERS, num_hidden_layers=self.num_hidden_layers)
        check_numbers(tower, layer_norm_eps=self.layer_norm_eps)
        if not self.layer_norm_eps > 0:
            raise ConfigError(f"{tower}: layer_norm_eps is {self.layer_norm_eps}; it has to be above 0")
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"{tower}: hidden_size {self.hidden_size} does not divide into "
                f"{self.num_attention_heads} attention heads; give a divisor as num_attention_heads"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ConfigError(
                f"{tower}: hidden_act {self.hidden_act!r} is unknown; use one of {', '.join(ACTIVATIONS)}"
            )


@dataclass(frozen=True)
class VisionConfig(_Transformer):
    """The image tower; the defaults are those of transformers' `CLIPVisionConfig` (ViT-B/32)."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224  # pixels, square
    patch_size: int = 32  # pixels, square
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self):
        self._check("vision_config")
        check_counts("vision_config", MOST_PIXELS, image_size=self.image_size, patch_size=self.patch_size)
        if self.patch_size < 1 or self.image_size % self.patch_size:
            raise ConfigError(
                f"vision_config: image_size {self.image_size} is not a multiple of "
                f"patch_size {self.patch_size}; change one of them"
            )

    @property
    def num_positions(self) -> int:
        """Tokens of the tower: the class token and one a patch."""
        return 1 + (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class SiglipVisionConfig(_Transformer):
    """SigLIP's image tower; the defaults are those of transformers' `SiglipVisionConfig`."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224  # pixels, square
    patch_size: int = 16  # pixels, square
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6

    def __post_init__(self):
        self._check("vision_config")
        check_counts("vision_config", MOST_PIXELS, image_size=self.image_size, patch_size=self.patch_size)
        if self.patch_size > self.image_size:
            raise ConfigError(
                f"vision_config: image_size {self.image_size} is less than patch_size {self.patch_size}; "
                "change one of them"
            )

    @property
    def num_positions(self) -> int:
        """Whole patches: pixels beyond the last of a row or column are not looked at (384 pixels are 27 times 14)."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class ResNetConfig:
    """The image tower of CLIP's residual networks; the defaults are those of RN50."""

    layers: tuple[int, int, int, int] = (3, 4, 6, 3)  # blocks of each stage
    width: int = 64  # channels of the first stage
    image_size: int = 224  # pixels, square
    head_dim: int = 64  # channels of one attention head of the pool

    def __post_init__(self):
        if len(self.layers) != 4:
            raise ConfigError(f"vision_config: layers {self.layers} have to be four numbers of blocks")
        for count in self.layers:
            check_counts("vision_config", MOST_LAYERS, layers=count)
        sizes = {name: getattr(self, name) for name in ("image_size", "width", "head_dim")}
        check_counts("vision_config", MOST_PIXELS, **sizes)
        if self.width < 2 or self.width % 2:
            raise ConfigError(f"vision_config: width {self.width} has to be an even number of channels")
        if self.head_dim < 1 or 32 * self.width % self.head_dim:
            raise ConfigError(
                f"vision_config: {32 * self.width} channels do not divide into attention heads of {self.head_dim}"
            )
        if self.image_size < 32:
            raise ConfigError(
                f"vision_config: image_size {self.image_size} is less than the 32 pixels of a place"
            )

    @property
    def num_attention_heads(self) -> int:
        """Heads of the pool."""
        return 32 * self.width // self.head_dim

    @property
    def num_positions(self) -> int:
        """Places of the last stage and their mean."""
        side = self.image_size
        side = (side + 1) // 2  # the strided convolution rounds up, averages cut off
        for _ in range(4):
            side //= 2
        return 1 + side**2


@dataclass(frozen=True)
class TextConfig(_Transformer):
    """The text tower; the defaults are those of transformers' `CLIPTextConfig`."""

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77  # the context, in tokens
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    pad_token_id: int = 1
    bos_token_id: int = 49406
    eos_token_id: int = 49407  # 2: pooled at the largest id instead (`LEGACY_EOS`)

    def __post_init__(self):
        self._check("text_config")
        sizes = {name: getattr(self, name) for name in ("vocab_size", "max_position_embeddings")}
        check_counts("text_config", **sizes)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"text_config: {name} {value!r} is not one token id")


@dataclass(frozen=True)
class SiglipTextConfig(_Transformer):
    """SigLIP's text tower; the defaults are those of transformers' `SiglipTextConfig`.

    It has no token ids of its own: whatever stands at the last place is pooled.
    """

    vocab_size: int = 32000
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 64  # the context, in tokens
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    head: bool = True  # a dense layer behind the pooled token; one of OpenCLIP's models has none

    def __post_init__(self):
        self._check("text_config")
        sizes = {name: getattr(self, name) for name in ("vocab_size", "max_position_embeddings")}
        check_counts("text_config", **sizes)


@dataclass(frozen=True)
class Resize:
    """How a frame of another size reaches the tower's: resized, then cropped at the centre; sizes in pixels.

    `shortest_edge` keeps the aspect ratio, `size` (height, width) does not; without both nothing is resized.
    """

    shortest_edge: int | None = None
    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    resample: str = "bicubic"
    crop_rounds: bool = (
        False  # the crop begins at half of what is left rounded (torchvision), else cut off (transformers)
    )

    def __post_init__(self):
        for value in (self.shortest_edge, *(self.size or ()), *(self.crop or ())):
            if value is not None:
                check_counts("preprocessor", MOST_PIXELS, size=value)
        if self.resample not in RESAMPLE_IDS:
            raise ConfigError(
                f"preprocessor: resample {self.resample!r} is unknown; use one of {', '.join(RESAMPLE_IDS)}"
            )


@dataclass(frozen=True)
class CLIPConfig:
    """Both towers, the size of the shared embedding and what a frame goes through first."""

    vision: VisionConfig | ResNetConfig | SiglipVisionConfig = VisionConfig()
    text: TextConfig | SiglipTextConfig = TextConfig()
    projection_dim: int = 512
    logit_scale_init_value: float = 2.6592  # log of the temperature's inverse
    logit_bias_init_value: float | None = (
        None  # added to scaled similarities; None: the model has no such parameter
    )
    image_mean: tuple[float, float, float] = OPENAI_MEAN  # of frames in [0, 1]
    image_std: tuple[float, float, float] = OPENAI_STD
    # None: shortest edge to the tower's size, then its centre crop; SigLIP squashes.
    resize: Resize | None = None

    def __post_init__(self):
        check_counts("config", projection_dim=self.projection_dim)
        check_numbers("config", logit_scale_init_value=self.logit_scale_init_value)
        for name in ("image_mean", "image_std"):
            values = getattr(self, name)
            if len(values) != 3:
                raise ConfigError(f"preprocessor: {name} {values} has to be a number a channel")
            for value in values:
                check_numbers("preprocessor", **{name: value})
        if not all(self.image_std):
            raise ConfigError(f"preprocessor: image_std {self.image_std} divides by 0")
        pairs = list(zip(self.image_mean, self.image_std, strict=True))
        if any(abs(std) < 1e-30 or abs(mean / std) > 1e30 for mean, std in pairs):
            raise ConfigError(
                f"preprocessor: image_mean {self.image_mean}, image_std {self.image_std} take pixels out of float32; "
                "fetch it again"
            )
        if self.logit_bias_init_value is not None:
            check_numbers("config", logit_bias_init_value=self.logit_bias_init_value)
        if self.siglip != isinstance(self.vision, SiglipVisionConfig):
            raise ConfigError(
                "config: SigLIP's towers come in pairs; give SigLIP's config for both or for none"
            )
        if isinstance(self.text, SiglipTextConfig):
            vision = self.vision.hidden_size if isinstance(self.vision, SiglipVisionConfig) else 0
            width = self.projection_dim if self.text.head else self.text.hidden_size
            if not vision == width == self.projection_dim:
                raise ConfigError(
                    f"config: SigLIP's image tower embeds into {vision} dimensions, the text tower into {width} "
                    f"and projection_dim is {self.projection_dim}; they have to be equal"
                )

    @property
    def siglip(self) -> bool:
        """Whether the towers are SigLIP's."""
        return isinstance(self.text, SiglipTextConfig)

    @property
    def patched(self) -> "VisionConfig | SiglipVisionConfig":
        """The image tower, where it has to be one of patches; raises ConfigError for a residual network."""
        if isinstance(self.vision, ResNetConfig):
            raise ConfigError(
                "the image tower is a residual network and has to be a ViT here; choose another checkpoint"
            )
        return self.vision

    @property
    def num_patches(self) -> int:
        """Patches of a frame; raises ConfigError for a residual network."""
        return (self.patched.image_size // self.patched.patch_size) ** 2

    @property
    def vit(self) -> VisionConfig:
        """The image tower, where it has to be CLIP's ViT; raises ConfigError for other networks."""
        if not isinstance(self.vision, VisionConfig):
            kind = "a residual network" if isinstance(self.vision, ResNetConfig) else "SigLIP's"
            raise ConfigError(
                f"the image tower is {kind} and has to be CLIP's ViT here; choose another checkpoint"
            )
        return self.vision

    @property
    def image_size(self) -> int:
        """Height and width of the frames the image tower takes, in pixels."""
        return self.vision.image_size

    @property
    def context(self) -> int:
        """Token ids a sentence is padded to."""
        return self.text.max_position_embeddings

    @property
    def resize_or_default(self) -> Resize:
        """The resize of the checkpoint, or CLIP's or SigLIP's own at this tower's size."""
        return self.resize or _default_resize(self.image_size, self.siglip)

    @classmethod
    def from_dict(
        cls, config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None = None
    ) -> "CLIPConfig":
        """Reads `config.json` and `preprocessor_config.json` of a Hugging Face CLIPModel or SiglipModel.

        Absent keys have transformers' defaults. Raises ConfigError on another `model_type` and on values no
        tower can be built from.
        """
        siglip = _check_model_type(config) == "siglip"
        vision = _section(config, "vision_config")
        text = _section(config, "text_config")
        if vision.get("num_channels", 3) != 3:
            raise ConfigError(f"vision_config: num_channels is {vision['num_channels']}; only 3 is supported")
        for key in ("image_size", "patch_size"):
            if key in vision:
                vision[key] = _square(vision[key], f"vision_config: {key}")
        kwargs: dict[str, Any]
        if siglip:
            if vision.get("vision_use_head", True) is not True:
                raise ConfigError(
                    f"vision_config: vision_use_head is {vision['vision_use_head']!r}, but without its head the image "
                    "tower has no embedding; use a checkpoint of the whole SiglipModel"
                )
            text.pop("head", None)  # no key of the file's
            kwargs = {"vision": _build(SiglipVisionConfig, vision), "text": _build(SiglipTextConfig, text)}
            size = text.get("projection_size")
            kwargs["projection_dim"] = kwargs["text"].hidden_size if size is None else size
            kwargs |= {"logit_scale_init_value": 0.0, "logit_bias_init_value": 0.0}  # transformers'
        else:
            for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
                if not isinstance(text.get(key, 0), int):
                    raise ConfigError(f"text_config: {key} {text[key]!r} is not one token id")
            kwargs = {"vision": _build(VisionConfig, vision), "text": _build(TextConfig, text)}
            kwargs["projection_dim"] = config.get("projection_dim", 512)
            if "logit_scale_init_value" in config:
                kwargs["logit_scale_init_value"] = float(config["logit_scale_init_value"])
        if preprocessor is not None:
            kwargs |= _read_preprocessor(preprocessor, siglip)
        elif siglip:
            kwargs |= {"image_mean": HALF, "image_std": HALF}
        if kwargs.get("resize") == _default_resize(kwargs["vision"].image_size, siglip):
            kwargs["resize"] = None
        return cls(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """The contents of `config.json`, which transformers' CLIPModel or SiglipModel reads.

        Raises ConfigError for a residual network, a CLIP with a logit bias and a SigLIP without one or without the
        text tower's head, which it has no words for.
        """
        problem = None
        if isinstance(self.vision, ResNetConfig):
            problem = "has no residual networks"
        elif self.siglip != (self.logit_bias_init_value is not None):
            problem = f"has {'no SigLIP without' if self.siglip else 'no CLIP with'} a logit_bias"
        elif isinstance(self.text, SiglipTextConfig) and not self.text.head:
            problem = "has no SigLIP whose text tower has no head"
        if problem:
            raise ConfigError(f"Hugging Face's layout {problem}; keep the OpenCLIP files of this model")
        if self.siglip:
            text = {key: value for key, value in vars(self.text).items() if key != "head"}
            text |= {
                "bos_token_id": None,
                "eos_token_id": None,
            }  # transformers' own may lie beyond the vocabulary
            return {
                "architectures": ["SiglipModel"],
                "model_type": "siglip",
                "text_config": {
                    "model_type": "siglip_text_model",
                    **text,
                    "projection_size": self.projection_dim,
                },
                "vision_config": {"model_type": "siglip_vision_model", **vars(self.vision)},
            }
        towers = {
            f"{name}_config": {
                "model_type": f"clip_{name}_model",
                **vars(getattr(self, name)),
                "projection_dim": self.projection_dim,
            }
            for name in ("text", "vision")
        }
        return {
            "architectures": ["CLIPModel"],
            "model_type": "clip",
            "projection_dim": self.projection_dim,
            "logit_scale_init_value": self.logit_scale_init_value,
            **towers,
        }

    def preprocessor_dict(self) -> dict[str, Any]:
        """The contents of `preprocessor_config.json`, for transformers' CLIPImageProcessor or SiglipImageProcessor."""
        resize = self.resize_or_default
        result: dict[str, Any] = {
            "image_processor_type": f"{'Siglip' if self.siglip else 'CLIP'}ImageProcessor",
            "do_convert_rgb": True,
            "do_resize": resize.shortest_edge is not None or resize.size is not None,
            "do_center_crop": resize.crop is not None,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
            "resample": RESAMPLE_IDS[resize.resample],
        }
        if resize.size is not None:
            result["size"] = {"height": resize.size[0], "width": resize.size[1]}
        elif resize.shortest_edge is not None:
            result["size"] = {"shortest_edge": resize.shortest_edge}
        if resize.crop is not None:
            result["crop_size"] = {"height": resize.crop[0], "width": resize.crop[1]}
        return result


def _default_resize(size: int, siglip: bool) -> Resize:
    return Resize(size=(size, size)) if siglip else Resize(shortest_edge=size, crop=(size, size))


def _check_model_type(config: Mapping[str, Any]) -> str:
    if "model_cfg" in config:
        raise ConfigError(
            "config.json is in the OpenCLIP layout; name the file open_clip_config.json and the weights "
            "open_clip_model.safetensors"
        )
    model_type = config.get("model_type")
    if model_type == "siglip2":
        raise ConfigError(
            "config.json: model_type 'siglip2' is the NaFlex model, whose pictures vary in shape, which is not "
            "supported; choose a fixed resolution, as google/siglip2-base-patch16-224 (model_type 'siglip')"
        )
    if model_type not in ("clip", "siglip"):
        raise ConfigError(
            f"config.json: model_type {model_type!r} is not supported yet; use a Hugging Face checkpoint of a "
            "CLIPModel (model_type 'clip') or SiglipModel ('siglip')"
        )
    return model_type


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    # Old files also hold `text_config_dict`; transformers lets it win over `text_config`, defaults included.
    legacy = config.get(f"{name}_dict")
    return dict(config.get(name) or {}) if legacy is None else dict(legacy)


def _square(value: int | list[int], name: str) -> int:
    sizes = [value] if isinstance(value, int) else list(value)
    if len(set(sizes)) != 1:
        raise ConfigError(f"{name} {value} is not square, which is not supported")
    return sizes[0]


def _build(kind: type, values: Mapping[str, Any]) -> Any:
    return kind(**{key: values[key] for key in kind.__dataclass_fields__ if values.get(key) is not None})


def _pair(value: int | Mapping[str, int], name: str) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if not {"height", "width"} <= set(value):
        raise ConfigError(f"preprocessor_config.json: {name} {dict(value)} needs height and width")
    return value["height"], value["width"]


def _read_preprocessor(values: Mapping[str, Any], siglip: bool) -> dict[str, Any]:
    """The arguments of CLIPConfig in `preprocessor_config.json`; absent keys as in the processor that it names.

    Without a name it is the processor of the model: CLIPImageProcessor, or SiglipImageProcessor, which crops nothing.
    """
    kind = str(values.get("image_processor_type") or "")
    if kind.startswith("Siglip2"):
        raise ConfigError(
            f"preprocessor_config.json: image_processor_type {kind!r} is that of the NaFlex model, which is not "
            "supported; use the files of a fixed-resolution checkpoint"
        )
    if kind.startswith(("CLIP", "Siglip")):
        siglip = kind.startswith("Siglip")
    size = values.get("size") or ({"height": 224, "width": 224} if siglip else {"shortest_edge": 224})
    resample = values.get("resample", RESAMPLE_IDS["bicubic"])
    names = {number: name for name, number in RESAMPLE_IDS.items()}
    edge: int | None = None
    target: tuple[int, int] | None = None
    if values.get("do_resize", True):
        if isinstance(size, int):
            edge = size
        elif set(size) == {"shortest_edge"}:
            edge = size["shortest_edge"]
        else:
            target = _pair(size, "size")
    crop = None
    if values.get("do_center_crop", not siglip):
        if siglip and not values.get("crop_size"):
            raise ConfigError(
                "preprocessor_config.json: do_center_crop is set and crop_size is not; set both or neither"
            )
        crop = _pair(values.get("crop_size") or 224, "crop_size")

    mean, std = (0.0,) * 3, (1.0,) * 3
    if values.get("do_normalize", True):
        mean = tuple(values.get("image_mean") or (HALF if siglip else OPENAI_MEAN))
        std = tuple(values.get("image_std") or (HALF if siglip else OPENAI_STD))
    # The towers divide by 255; any other factor moves into mean and std. 255 * (1 / 255) is exactly one.
    factor = 255 * (values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0)
    return {
        "image_mean": tuple(float(m) / factor for m in mean),
        "image_std": tuple(float(s) / factor for s in std),
        "resize": Resize(edge, target, crop, names.get(resample, str(resample))),
    }
