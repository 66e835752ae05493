"""Checkpoints as parts of file names."""

import hashlib
import os
import re
from pathlib import Path

from jaxvlm.names import short_name

LONGEST = 80  # characters of a checkpoint's part, as file systems take 255 in all
KINDS = ("tiny", "untrained")  # what stands before a colon


def label_of(clip: str) -> str:
    """A checkpoint as a part of file names: letters, digits, points, underscores and dashes; no two share one.

    A slash becomes two dashes, which no name on the hub has, and the colon of `tiny:` and `untrained:` one: `tiny`,
    `tiny-humanoid-112`, `RN50--openai`. A path below the working folder is taken from there, however it is written:
    `runs--x--clips--s-1500-s0`. Where that would be long, or could be another checkpoint as well, digits of a digest
    of the whole name stand before its last part: `3f7c0a91-s-1500-s0`.
    """
    name = _from_here(clip)
    label = name.replace("/", "--").replace(":", "-")
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label)
    if plain and len(label) <= LONGEST and _meant_by(label) == name:
        return label
    last = re.sub(r"[^A-Za-z0-9._-]+", "-", name.rpartition("/")[2])[-LONGEST:]
    return f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}-{last}".strip("-.")


def stem_of(task: str, clip: str, size: int = 0) -> str:
    """The first part of the names of files about a task and a checkpoint, at frames of `size` pixels where given."""
    return f"{short_name(task)}-{label_of(clip)}" + (f"-{size}px" if size else "")


def _from_here(clip: str) -> str:
    """A checkpoint's name in which a path below the working folder begins there, whether or not it exists yet."""
    kind, colon, place = clip.partition(":")
    if not colon or kind not in KINDS:
        kind, colon, place = "", "", clip
    path = Path(os.path.normpath(os.path.expanduser(place)))
    if path.is_absolute() or ".." in path.parts:
        path, here = Path(os.path.abspath(path)), Path.cwd()
        path = path.relative_to(here) if path.is_relative_to(here) else path
    return f"{kind}{colon}{path.as_posix()}"


def _meant_by(label: str) -> str:
    """The only checkpoint whose label this may be without a digest."""
    kind, dash, rest = label.partition("-")
    name = f"{kind}:{rest}" if dash and kind in KINDS else label
    return name.replace("--", "/")
