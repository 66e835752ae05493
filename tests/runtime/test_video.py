import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.runtime import save_contact_sheet, save_gif, save_mp4, save_video, tile


def moving_square(time: int = 10, size: int = 33) -> np.ndarray:
    frames = np.full((time, size, size, 3), 240, np.uint8)
    for step in range(time):
        frames[step, 10:20, step : step + 8] = (200, 30, 30)
    return frames


def test_gif_holds_the_frames(tmp_path):
    frames = moving_square()
    path = save_gif(tmp_path / "new" / "a.gif", frames, fps=20)
    with Image.open(path) as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (10, (33, 33), 0)
        assert image.info["duration"] == 50
        for step in (0, 4, 9):
            image.seek(step)
            np.testing.assert_allclose(np.asarray(image.convert("RGB")), frames[step], atol=8)
    assert os.listdir(path.parent) == ["a.gif"]
    assert path.stat().st_size < 6_000  # differences only


def test_wrong_frames_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"got float64\[2, 4, 4, 3\].*to_uint8"):
        save_gif(tmp_path / "a.gif", np.zeros((2, 4, 4, 3)), 10)
    with pytest.raises(ConfigError, match=r"got uint8\[0, 4, 4, 3\]"):
        save_gif(tmp_path / "a.gif", np.zeros((0, 4, 4, 3), np.uint8), 10)
    with pytest.raises(ConfigError, match="must be positive, got 0"):
        save_gif(tmp_path / "a.gif", moving_square(), 0)
    with pytest.raises(ConfigError, match=r"'\.avi': choose \.gif or \.mp4"):
        save_video(tmp_path / "a.avi", moving_square(), 10)


def test_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        save_video(tmp_path / "file" / "a.gif", moving_square(), 10)


def test_mp4_with_odd_size(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    path = save_video(tmp_path / "a.mp4", moving_square(), 10)
    command = [ffmpeg, "-loglevel", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    pixels = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    frames = pixels.reshape(10, 34, 34, 3)
    np.testing.assert_allclose(frames[4, 12:18, 6:10].mean((0, 1)), (200, 30, 30), atol=25)
    np.testing.assert_allclose(frames[:, 25:30, 2:30].mean((0, 1, 2)), (240, 240, 240), atol=10)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_mp4_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ConfigError, match=r"jaxvlm\[video\]"):
        save_mp4(tmp_path / "a.mp4", moving_square(), 10)


def test_tile_lays_out_rows_first():
    frames = np.arange(1, 4, dtype=np.uint8)[None, :, None, None, None] * np.ones((2, 3, 4, 5, 3), np.uint8)
    grid = tile(frames)
    assert grid.shape == (2, 2 * 4 + 2, 2 * 5 + 2, 3)
    assert [grid[0, 0, 0, 0], grid[0, 0, -1, 0], grid[0, -1, 0, 0], grid[0, -1, -1, 0]] == [1, 2, 3, 0]
    assert tile(frames, columns=3, border=0).shape == (2, 4, 15, 3)
    with pytest.raises(ConfigError, match=r"got shape \[2, 4, 5, 3\]"):
        tile(frames[:, 0])


def test_a_contact_sheet_shows_an_episode_a_row_and_time_from_left_to_right(tmp_path):
    frames = np.zeros((11, 2, 4, 4, 3), np.uint8)
    frames[..., 0] = 10 * np.arange(11)[:, None, None, None]
    frames[:, 1, ..., 1] = 200
    path = save_contact_sheet(tmp_path / "new" / "sheet.png", frames, columns=3)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 6 - 2, 3 * 6 - 2, 3)
    assert [sheet[0, column, 0] for column in (0, 6, 12)] == [0, 50, 100]
    assert [sheet[6, column, 1] for column in (0, 6, 12)] == [200, 200, 200]
    assert not sheet[4:6].any()
    assert np.asarray(Image.open(save_contact_sheet(tmp_path / "all.png", frames, columns=99))).shape[1] == 64
    with pytest.raises(ConfigError, match="0 columns"):
        save_contact_sheet(tmp_path / "a.png", frames, columns=0)
    with pytest.raises(ConfigError, match=r"got shape \[0, 2, 4, 4, 3\]"):
        save_contact_sheet(tmp_path / "a.png", frames[:0])
