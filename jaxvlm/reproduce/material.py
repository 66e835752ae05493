"""What is there to draw figures from: finished runs, tables of states, and files, as plain data."""

import csv
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxvlm.evaluation import Interval, bootstrap, mean_interval, rate_interval
from jaxvlm.reproduce.figure import Place, Row
from jaxvlm.runtime.checkpoint import Checkpoints
from jaxvlm.runtime.metrics import read_rows

REUSED = "reused.json"  # in a run directory that was copied from elsewhere
FEW_SEEDS = 3  # of so many a bootstrap that draws whole seeds reaches from the lowest to the highest
LIGHT = "light.json"  # in the folder of a run or a CLIP that came without all or most of its weights
POLICIES = "policies.safetensors"  # what the best agents of a run act with
LARGEST_HEADER = 100_000_000  # bytes that safetensors allows


@dataclass(frozen=True)
class Trained:
    """A finished run: its settings, its evaluation, its training."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json`."""
        return read_json(self.path / "config.json") or {}

    @cached_property
    def origin(self) -> str:
        """Where it was copied from, with steps and seeds of its own; empty for a run that was made here."""
        return str((read_json(self.path / REUSED) or {}).get("from", ""))

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """`evaluation.json`."""
        return read_json(self.path / "evaluation.json") or {}

    @cached_property
    def training(self) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl`, lists over seeds in them."""
        path = self.path / "metrics.jsonl"
        return read_rows(path) if path.exists() else []

    @cached_property
    def sessions(self) -> list[dict[str, Any]]:
        """`environment.json`: versions, devices and the CLIP's digest, one a session."""
        found = read_json(self.path / "environment.json")
        return found if isinstance(found, list) else []

    @property
    def seeds(self) -> int:
        """Agents."""
        return len(self.rates)

    @cached_property
    def rates(self) -> list[float]:
        """Success of every seed's agent, over its episodes."""
        return list(self.evaluation["per_seed"]["success_rate"])

    @property
    def episodes(self) -> int:
        """Episodes of each seed."""
        return int(self.evaluation["episodes"])

    @cached_property
    def success(self) -> Interval:
        """Success over seeds and episodes, with a bootstrap that draws whole seeds."""
        return success_interval(self.rates, self.episodes)

    @cached_property
    def sampled(self) -> Interval | None:
        """The same of actions sampled from the policy; None where an evaluation has none, as of DQN."""
        rates = (self.evaluation.get("stochastic") or {}).get("per_seed", {}).get("success_rate")
        return success_interval(rates, self.episodes) if rates else None

    @cached_property
    def learned(self) -> list[dict[str, Any]]:
        """Those of `training` whose rollouts the policy played: they begin once random actions are over."""
        first = self.config.get("learning_starts", 0)
        begun = [0, *(row["step"] for row in self.training)]
        return [row for start, row in zip(begun, self.training, strict=False) if start >= first]

    @cached_property
    def rewards(self) -> list[float]:
        """The reward (CLIP's, but in controls) that every seed's agent was kept for: its highest, as in the paper."""
        rows = [row["reward"] for row in self.learned if isinstance(row.get("reward"), list)]
        if rows:
            table = np.asarray([[math.nan if v is None else v for v in row] for row in rows], np.float64)
            return [float(value) for value in np.nanmax(table, axis=0)]
        return list(self.evaluation["per_seed"].get("mean_clip_reward") or [math.nan] * self.seeds)

    @property
    def chosen(self) -> int:
        """Index of the seed with the most CLIP reward; the first where none is known."""
        rewards = np.asarray(self.rewards[: self.seeds])
        return int(np.nanargmax(rewards)) if np.isfinite(rewards).any() else 0

    @cached_property
    def best(self) -> Interval:
        """Success of the seed with the most CLIP reward, Wilson's interval over its episodes."""
        return rate_interval(round(self.rates[self.chosen] * self.episodes), self.episodes)

    @cached_property
    def share(self) -> Interval:
        """Share of successful steps: a bootstrap that draws whole seeds, or Student's interval over seeds' means."""
        if self.shares is not None and len(self.shares) > 1:
            return over_seeds(self.shares)
        metric = next(name for name in self.evaluation["per_seed"] if name.endswith("_fraction"))
        value, low, high = mean_interval(self.evaluation["per_seed"][metric])
        return Interval(value, max(low, 0.0), min(high, 1.0))  # NaN, which is not known, stays

    @cached_property
    def table(self) -> list[dict[str, float]] | None:
        """Rows of `evaluation-episodes.csv`; None in runs of earlier versions."""
        path = self.path / "evaluation-episodes.csv"
        if not path.exists():
            return None
        with path.open(encoding="utf-8", newline="") as lines:
            return [{name: number(cell) for name, cell in row.items()} for row in csv.DictReader(lines)]

    @cached_property
    def shares(self) -> list[np.ndarray] | None:
        """Share of successful steps of every episode, an f64[episodes] for each seed; None where there is no table."""
        if not self.table:
            return None
        metric = next((name for name in self.table[0] if name.endswith("_fraction")), None)
        if metric is None:
            return None
        seeds = sorted({row["seed"] for row in self.table})
        return [np.asarray([row[metric] for row in self.table if row["seed"] == seed]) for seed in seeds]

    @property
    def digest(self) -> str:
        """The first digits of the CLIP's digest; empty where it learned from something else."""
        # Of what it learned from: an evaluation of later may have been made with another file of the same name.
        first = self.sessions[0] if self.sessions else {}
        found = first.get("clip_digest") or self.evaluation.get("clip_digest")
        return str(found)[:12] if found else ""

    @property
    def clip(self) -> str:
        """The checkpoint's name."""
        return str(self.config.get("reward", {}).get("clip", ""))


@dataclass(frozen=True)
class Material:
    """What a section is drawn from."""

    place: Place
    others: tuple[Path, ...] = ()  # further finished runs, which stand beside the rows

    def run(self, name: str) -> Trained | None:
        """A finished training, by its row's name."""
        path = self.place.folder / "runs" / name
        return Trained(path) if is_finished(path) else None

    def runs_of(self, task: str) -> list[Trained]:
        """Further runs of a task, from the folders that were given."""
        found = [Trained(path) for path in self.others]
        return [run for run in found if run.config.get("task") == task]

    def ratings(self, run: Trained) -> list[np.ndarray] | None:
        """People's ratings of a run's episodes, all raters together; None before they report.

        They come from `jaxvlm rate RUN --report`. A report of an earlier version, which keeps seeds apart in no
        histogram, counts as none: no interval that draws whole seeds can be told from it.

        Returns:
          Ratings in [0, 1], an f64[n] for each seed that was rated.
        """
        report = read_json(run.path / "rating" / "report-share.json")
        runs = report.get("runs", []) if isinstance(report, dict) else []
        own = _entry(run, runs)
        voices = [by for name, by in own["by"].items() if name != "predicate"] if own else []
        # The last is of all raters, where there are several.
        seeds = list(voices[-1].get("per_seed", {}).values()) if voices else []
        if not seeds or not all("histogram" in seed for seed in seeds):
            return None
        return [
            np.repeat([float(value) / 100 for value in counts], [int(count) for count in counts.values()])
            for counts in (seed["histogram"] for seed in seeds)
        ]

    def file(self, product: str) -> Path | None:
        """A product that exists."""
        path = self.place.folder / product
        return path if path.exists() else None

    def has(self, row: Row) -> bool:
        """Whether a row's product exists, or came without weights."""
        return exists(row, self.place.folder)


def _entry(run: Trained, runs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """What a report of raters says of a run; None where that cannot be told.

    The report of a run that was rated together with others is on all of them. Runs of several folders may have one
    name, so the folder decides; where the run has been moved since, its name does, if no other has it. A copy counts as
    what it was copied from.
    """
    if len(runs) == 1:
        return runs[0]
    paths = {str(path.resolve()) for path in (run.path, *([Path(run.origin)] if run.origin else []))}
    names = {run.path.name, Path(run.origin).name}
    by_folder = [entry for entry in runs if entry.get("folder") in paths]
    by_name = [entry for entry in runs if Path(str(entry["run"])).name in names]
    return next((found[0] for found in (by_folder, by_name) if len(found) == 1), None)


def came(product: Path) -> bool:
    """Whether a row's product lies in the folder of a run or a CLIP that was published."""
    return (product.parent / LIGHT).exists()


def header_of(path: Path) -> dict[str, Any] | None:
    """The header of a safetensors file; None where it cannot be read, as that of a pointer to one."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size)) if size < LARGEST_HEADER else None
    except (OSError, ValueError, struct.error):
        return None
    return header if isinstance(header, dict) else None


def is_whole(path: Path) -> bool:
    """Whether a safetensors file is there and as long as its header says: no pointer to one, and not torn off."""
    header = header_of(path)
    if header is None:
        return False
    header.pop("__metadata__", None)
    length = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
    return path.stat().st_size == 8 + size + length


def is_light(product: Path) -> bool:
    """Whether a row's product, which may not exist, is of a run without agents or a CLIP without weights."""
    folder = product.parent
    if not came(product) or (folder / "model.safetensors").exists() or is_whole(folder / POLICIES):
        return False
    checkpoints = Checkpoints(folder / "checkpoints")  # a folder without any is no weights
    return not checkpoints.steps() and checkpoints.best() is None


def is_finished(run: Path) -> bool:
    """Whether a run directory holds the evaluation of agents that were trained to the end."""
    path = run / "evaluation.json"
    if not path.exists():
        return False
    # `jaxvlm evaluate` writes it for a run that was stopped as well; earlier versions do not say how far it had come.
    found = read_json(path)
    steps = found.get("steps") if isinstance(found, dict) else None
    return not steps or found.get("trained_steps", steps) >= steps


def exists(row: Row, folder: Path) -> bool:
    """Whether a row is finished in a folder: its product is there, or of a CLIP all but its weights.

    Of a training it has to be the product of its end.
    """
    product = folder / row.product
    if row.task:
        return is_finished(product.parent)
    return product.exists() or (row.arguments[:2] == ("clip", "train") and is_light(product))


def success_interval(rates: Sequence[float], episodes: int) -> Interval:
    """Mean success of several seeds; Wilson's interval where there is one."""
    outcomes = [(np.arange(episodes) < round(rate * episodes)).astype(np.float64) for rate in rates]
    return over_seeds(outcomes)


def over_seeds(values: Sequence[np.ndarray], resamples: int = 2000) -> Interval:
    """The mean of all seeds' episodes, f64[episodes] each, with a bootstrap that draws whole seeds.

    Episodes of a seed resemble each other. With a single seed its episodes are drawn; for shares of successes Wilson's
    interval is taken then, which is not empty where all of them agree. The same as `jaxvlm.evaluation.bootstrap` of the
    mean with seeds as groups, of which a report needs hundreds, in one array operation.
    """
    if len(values) == 1:
        (only,) = values
        if np.isin(only, (0.0, 1.0)).all():
            return rate_interval(int(only.sum()), len(only))
        return bootstrap(lambda row: float(np.mean(row)), [only])
    sums, sizes = (np.asarray([count(row) for row in values], np.float64) for count in (np.sum, np.size))
    drawn = np.random.default_rng(0).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
    return Interval(float(sums.sum() / sizes.sum()), float(low), float(high))


def read_json(path: Path) -> Any:
    """A JSON file's content, None where it is missing or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def number(cell: str | None) -> float:
    """A cell of a table; NaN where it is empty or says True, False as numbers."""
    if cell in ("True", "False"):
        return float(cell == "True")
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        return math.nan
