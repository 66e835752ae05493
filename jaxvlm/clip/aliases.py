"""Names of CLIP checkpoints that are no repositories: those that VLM-RM's paper and OpenCLIP use."""

import re
from difflib import get_close_matches

# On the hub.
ALIASES = {
    "RN50/openai": "timm/resnet50_clip.openai",
    "RN101/openai": "timm/resnet101_clip.openai",
    "RN50x4/openai": "timm/resnet50x4_clip.openai",
    "ViT-L-14/laion2b_s32b_b82k": "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    "ViT-H-14/laion2b_s32b_b79k": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "ViT-bigG-14/laion2b_s39b_b160k": "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
}

# How OpenCLIP calls its architectures; no owner on the hub begins so.
_OPENCLIP = re.compile(
    r"(ViTam|ViT|RN|EVA|convnext|coca|nllb|roberta|xlm|MobileCLIP)\d*[-_x\d]", re.IGNORECASE
)


def alias_hint(name: str) -> str:
    """What follows an error on a name that looks like one of OpenCLIP's and is none that is known; else nothing."""
    if name in ALIASES or not _OPENCLIP.match(name):
        return ""
    lower = {alias.lower(): alias for alias in ALIASES}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.75)
    meant = f"did you mean {lower[close[0]]!r}? " if close else ""
    return (
        f"; {meant}of OpenCLIP's names {', '.join(ALIASES)} are known: give any other model as its repository on the "
        "hub, such as 'openai/clip-vit-large-patch14' or 'laion/CLIP-ViT-L-14-laion2B-s32B-b82K'"
    )
