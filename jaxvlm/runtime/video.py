"""Frames to files: GIF with Pillow always, MP4 with the `video` extra."""

import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxvlm.errors import ConfigError
from jaxvlm.runtime.files import replace_file

PALETTE_FRAMES = 8  # frames the shared palette is made from


def save_video(path: str | Path, frames: Any, fps: float) -> Path:
    """Writes `frames` as the suffix of `path` says, `.gif` or `.mp4`; see `save_gif` and `save_mp4`."""
    writers = {".gif": save_gif, ".mp4": save_mp4}
    suffix = Path(path).suffix.lower()
    if suffix not in writers:
        raise ConfigError(f"cannot write a video as {suffix or Path(path).name!r}: choose .gif or .mp4")
    return writers[suffix](path, frames, fps)


def save_gif(path: str | Path, frames: Any, fps: float) -> Path:
    """Writes a GIF that loops for ever, with one palette for all frames.

    A shared palette keeps unchanged pixels unchanged, so only the difference to the frame before is stored.

    Args:
        path: file to write; its folder is made when missing.
        frames: uint8[T, H, W, 3].
        fps: frames a second, up to 50; GIF counts in hundredths of a second, the time is rounded to them.

    Raises:
        ConfigError: frames of another shape or dtype, none at all, or a rate that is not positive.
        RunError: the file cannot be written.
    """
    frames = _check(frames, fps)
    sample = frames[np.linspace(0, len(frames) - 1, min(PALETTE_FRAMES, len(frames))).astype(int)]
    palette = Image.fromarray(sample.reshape(-1, *sample.shape[2:])).quantize(256)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    duration = max(round(100 / fps), 2) * 10  # ms; viewers slow down what is shorter than 20

    def write(draft: str) -> None:
        images[0].save(
            draft,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=duration,
            loop=0,
            optimize=False,
        )

    return replace_file(Path(path), write)


def save_mp4(path: str | Path, frames: Any, fps: float) -> Path:
    """Writes an H.264 MP4 that browsers play; arguments and errors as for `save_gif`.

    Odd heights and widths are padded by one black line, as the pixel format asks for even ones.

    Raises:
        ConfigError: the `video` extra is not installed.
    """
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "MP4 needs the video extra: pip install 'jaxvlm[video]', or write a .gif"
        ) from error
    frames = _check(frames, fps)
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{fps:g}", "-i", "-"]
    target = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]

    def write(draft: str) -> None:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *source, *target, draft]
        result = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=False)
        if result.returncode:
            lines = result.stderr.decode(errors="replace").strip().splitlines()
            raise OSError(f"ffmpeg: {lines[-1] if lines else f'exit code {result.returncode}'}")

    return replace_file(Path(path), write)


def save_contact_sheet(path: str | Path, frames: Any, columns: int = 10) -> Path:
    """Writes moments of several episodes as one PNG: a row an episode, time from left to right.

    Args:
        path: file to write; its folder is made when missing.
        frames: uint8[T, N, H, W, 3], N episodes.
        columns: moments, evenly spaced from the first to the last; no more than T.

    Raises:
        ConfigError: frames of another shape, or none.
        RunError: the file cannot be written.
    """
    frames = np.asarray(frames)
    if columns < 1:
        raise ConfigError(f"a contact sheet of {columns} columns shows nothing; give at least 1")
    if frames.ndim != 5 or 0 in frames.shape:
        raise ConfigError(f"a contact sheet wants frames [T, N, H, W, 3], got shape {list(frames.shape)}")
    moments = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
    chosen = frames[moments].swapaxes(0, 1)  # [N, moments, H, W, 3]
    sheet = tile(chosen.reshape(1, -1, *frames.shape[2:]), columns=len(moments))[0]
    return replace_file(Path(path), lambda draft: Image.fromarray(sheet).save(draft, format="PNG"))


def tile(frames: Any, columns: int | None = None, border: int = 2) -> np.ndarray:
    """Puts N videos side by side in a grid.

    Args:
        frames: uint8[T, N, H, W, 3].
        columns: of the grid; None takes the smallest square that holds all.
        border: black pixels between videos.

    Returns:
        uint8[T, rows * (H + border) - border, columns * (W + border) - border, 3], row by row; places left
        over are black.
    """
    frames = np.asarray(frames)
    if frames.ndim != 5 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ConfigError(f"tile wants frames [T, N, H, W, 3], got shape {list(frames.shape)}")
    time, count, height, width, _ = frames.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.zeros((time, rows * (height + border), columns * (width + border), 3), np.uint8)
    for index in range(count):
        top, left = (index // columns) * (height + border), (index % columns) * (width + border)
        canvas[:, top : top + height, left : left + width] = frames[:, index]
    return canvas[:, : canvas.shape[1] - border, : canvas.shape[2] - border]


def _check(frames: Any, fps: float) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ConfigError(
            f"a video is made of uint8 frames [T, H, W, 3], got {frames.dtype}{list(frames.shape)}: "
            "quantise them with jaxvlm.render.to_uint8"
        )
    if not fps > 0:
        raise ConfigError(f"frames a second must be positive, got {fps}")
    return frames
