"""Writes the golden values of `tests/clip/test_openclip.py` with OpenCLIP's own code.

Run from the repository's root, where PyTorch, ftfy, open_clip_torch 3.3 and timm are installed (the last two without
what they ask for: `pip install --no-deps open_clip_torch==3.3.0 timm==1.0.31`): `python -m tests.golden.make_openclip
[NAME ...]`. It writes beside itself, all or the embeddings of those named,

* `openclip_<name>.npz`, embeddings of the random models of `tests/clip/recipes.py`, OPENCLIP;
* `clip_token_ids.json`, sentences and their ids as OpenCLIP's SimpleTokenizer gives them.

torchvision, which both import and ViTs do not need, is replaced by empty modules, and so are the parts of timm that
read images. SigLIP's image tower is timm's VisionTransformer and its text tower OpenCLIP's; the class that holds both
makes trunks of published sizes only and is left out.
"""

import importlib
import json
import random
import sys
import tempfile
import types
from importlib.util import find_spec
from pathlib import Path
from unicodedata import category

import numpy as np
from safetensors.torch import load_file

from jaxvlm.clip import normalise
from jaxvlm.clip.openclip import WEIGHTS
from tests.clip.recipes import OPENCLIP, SIGLIP_SIZES, inputs, openclip_model, write_openclip

LATIN = "a the robot kneeling lotus's splits, can't it's naïve café übermäßig e\u0301 STRASSE (hips) we'll doggo's --"
OTHER = "日本語 русский العربية 한국어 😀 ½ 3.14 2,000 #1 pole/cart"
WORDS = [*LATIN.split(), *OTHER.split()]


def empty(name: str, **values: object) -> None:
    """Puts a module of `values` where an import looks first."""
    module = types.ModuleType(name)
    module.__dict__.update(values)
    sys.modules[name] = module


def import_openclip(part: str):
    """A module of open_clip, without its package's own imports."""
    import torch

    if "open_clip" not in sys.modules:
        place = find_spec("open_clip")
        assert place is not None
        empty("torchvision")
        empty("torchvision.ops")
        empty("torchvision.ops.misc", FrozenBatchNorm2d=torch.nn.BatchNorm2d)
        empty("open_clip", __path__=list(place.submodule_search_locations or []))
        empty("open_clip.hf_model", HFTextEncoder=object)
        empty("open_clip.timm_model", TimmModel=object)
    return importlib.import_module(f"open_clip.{part}")


def import_timm_vit():
    """timm's module of vision transformers, without its package's own imports."""
    import torch

    if "timm" not in sys.modules:
        place = find_spec("timm")
        assert place is not None
        folder = next(iter(place.submodule_search_locations or []))
        empty("torchvision")
        empty("torchvision.ops")
        empty("torchvision.ops.misc", FrozenBatchNorm2d=torch.nn.BatchNorm2d)
        empty("timm", __path__=[folder], __version__="")
        empty("timm.models", __path__=[f"{folder}/models"])
        empty("timm.data", __path__=[f"{folder}/data"])
        constants = importlib.import_module("timm.data.constants")
        sys.modules["timm.data"].__dict__.update(vars(constants))
    return importlib.import_module("timm.models.vision_transformer")


def siglip(values: dict):
    """The two towers of an OpenCLIP config of SigLIP, under the names they have there."""
    import torch

    module, vit, vision = import_openclip("model"), import_timm_vit(), values["vision_cfg"]
    _, size, patch, _, side = vision["timm_model_name"].split("_")
    width, layers, heads, ratio = SIGLIP_SIZES[size]
    trunk = vit.VisionTransformer(
        img_size=int(side),
        patch_size=int(patch.removeprefix("patch")),
        embed_dim=width,
        depth=layers,
        num_heads=heads,
        mlp_ratio=ratio,
        class_token=False,
        global_pool="map",
        num_classes=0,
        act_layer="gelu_tanh" if patch == "patch32" else None,
    )
    text = module._build_text_tower(values["embed_dim"], dict(values["text_cfg"]))
    model = torch.nn.ModuleDict({"visual": torch.nn.ModuleDict({"trunk": trunk}), "text": text})
    for name in ("logit_scale", "logit_bias"):
        model.register_parameter(name, torch.nn.Parameter(torch.zeros(())))
    model.encode_image, model.encode_text = trunk.forward, text.forward
    return model


def embeddings(name: str) -> dict[str, np.ndarray]:
    """What OpenCLIP's model makes of the inputs of a recipe, before normalisation, f32."""
    import torch

    module, values = import_openclip("model"), OPENCLIP[name]["model_cfg"]
    kind = module.CustomTextCLIP if values.get("custom_text") else module.CLIP
    given = {key: value for key, value in values.items() if key != "custom_text"}
    if "timm_model_name" in values["vision_cfg"]:
        model = siglip(values).eval()
    else:
        given["vision_cfg"] = module.CLIPVisionCfg(**given["vision_cfg"])
        given["text_cfg"] = module.CLIPTextCfg(**given["text_cfg"])
        model = kind(**given).eval()
    config, params = openclip_model(name)
    with tempfile.TemporaryDirectory() as folder:
        write_openclip(Path(folder), name, params)
        model.load_state_dict(load_file(Path(folder) / WEIGHTS), strict=True)
    frames, ids = inputs(config)
    pixels = torch.from_numpy(np.asarray(normalise(frames, config)).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        image = model.encode_image(pixels).numpy()
        text = model.encode_text(torch.from_numpy(ids.astype(np.int64))).numpy()
    return {"image": image, "text": text}


def token_ids() -> list[list]:
    """Sentences of known words in several scripts, and of any characters."""
    import ftfy

    generator, tokenizer = random.Random(0), import_openclip("tokenizer").SimpleTokenizer()
    texts = ["a photo of a cat", "a humanoid robot kneeling"]
    texts += [" ".join(generator.choices(WORDS, k=generator.randint(1, 12))) for _ in range(300)]
    ranges = ((32, 126), (0xA1, 0x24F), (0x370, 0x5FF), (0x3040, 0x30FF), (0x1F300, 0x1F64F))
    for _ in range(400):
        characters = [
            chr(generator.randint(*generator.choice(ranges))) for _ in range(generator.randint(1, 9))
        ]
        # What a version of Unicode does not assign is a letter to some libraries and none to others.
        texts.append("".join(character for character in characters if category(character) != "Cn"))
    rows = []
    for text in texts:
        # OpenCLIP mends broken encodings and HTML first, which transformers does not.
        if not text.strip() or ftfy.fix_text(text) != text or "&" in text or "<" in text:
            continue
        rows.append([text, tokenizer.encode(text)])
    return rows


if __name__ == "__main__":
    here = Path(__file__).parent
    for recipe in sys.argv[1:] or OPENCLIP:
        np.savez_compressed(here / f"openclip_{recipe}.npz", **embeddings(recipe))
    if not sys.argv[1:]:
        rows = token_ids()
        (here / "clip_token_ids.json").write_text(json.dumps(rows, ensure_ascii=False, indent=0) + "\n")
        print(f"{len(rows)} sentences")
