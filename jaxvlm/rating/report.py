"""What the raters said: success with intervals, agreement with one another and with the predicates."""

import csv
import io
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation.intervals import Interval, bootstrap, mean_interval, rate_interval
from jaxvlm.rating.agreement import Level, cohen_kappa, krippendorff_alpha
from jaxvlm.rating.material import Item, Material
from jaxvlm.rating.session import VALUES, Mode, Session
from jaxvlm.rating.store import Answer

SUCCESS = 50  # per cent of an episode's steps that make it a success, as in the paper
ALL = "all raters"


@dataclass(frozen=True)
class Ratings:
    """Current answers as a matrix."""

    mode: Mode
    raters: tuple[str, ...]
    sources: tuple[Material, ...]  # of every item
    items: tuple[Item, ...]
    values: (
        np.ndarray
    )  # f64[rater, item], per cent of the time, or 0 and 1 of a frame; NaN where there is none
    answers: tuple[Answer, ...]

    @classmethod
    def of(cls, session: Session) -> "Ratings":
        """The session's answers; raises `ConfigError` where there are none yet."""
        answers = sorted(session.answers(), key=lambda answer: answer.at)
        if not answers:
            raise ConfigError("nobody has rated these yet: leave --report out and answer in the browser")
        raters = tuple(dict.fromkeys(answer.rater for answer in answers))
        row = {name: number for number, name in enumerate(raters)}
        column = {name: number for number, name in enumerate(session.items)}
        values = np.full((len(row), len(column)), np.nan)
        for answer in answers:
            values[row[answer.rater], column[answer.item]] = answer.value
        materials, items = zip(*session.items.values(), strict=True)
        return cls(session.mode, raters, materials, items, values, tuple(answers))

    @property
    def predicate(self) -> np.ndarray:
        """The predicate's share of the time in per cent, or its verdict on a frame, f64[item]; NaN without one."""
        scale = 100.0 if self.mode == "share" else 1.0
        return np.array([math.nan if item.share is None else scale * item.share for item in self.items])

    @property
    def groups(self) -> np.ndarray:
        """A number for each episode, i64[item]: frames of one resemble each other, and are drawn together."""
        keys = {}
        for material, item in zip(self.sources, self.items, strict=True):
            keys.setdefault((material.folder, item.seed, item.episode), len(keys))
        return np.array(
            [
                keys[material.folder, item.seed, item.episode]
                for material, item in zip(self.sources, self.items, strict=True)
            ]
        )

    @property
    def together(self) -> np.ndarray:
        """Median of an item's answers, f64[item]; NaN where there is none."""
        columns = [column[~np.isnan(column)] for column in self.values.T]
        return np.array([np.median(column) if column.size else math.nan for column in columns])

    def verdict(self, values: np.ndarray) -> np.ndarray:
        """Success, or the goal, as 0 and 1; NaN stays NaN. A tie of two raters' verdicts on a frame is the goal."""
        least = SUCCESS if self.mode == "share" else 0.5
        # A predicate's share is a ratio of steps in floating point: 50 of 100 has to stay a success.
        return np.where(np.isnan(values), np.nan, (values >= least - 1e-6).astype(np.float64))

    def bucket(self, values: np.ndarray) -> np.ndarray:
        """The nearest answer a rater could give, NaN stays NaN."""
        choices = np.array(VALUES[self.mode], np.float64)
        nearest = choices[np.abs(np.nan_to_num(values)[:, None] - choices).argmin(1)]
        return np.where(np.isnan(values), np.nan, nearest)


def summarise(ratings: Ratings) -> dict[str, Any]:
    """All figures as plain data: `runs`, `between_raters` and `with_predicate`."""
    voices = dict(zip(ratings.raters, ratings.values, strict=True))
    if len(voices) > 1:
        voices[ALL] = ratings.together
    return {
        "mode": ratings.mode,
        "success": f"at least {SUCCESS} % of the steps"
        if ratings.mode == "share"
        else "the frame shows the goal",
        "raters": list(ratings.raters),
        "items": len(ratings.items),
        "answers": int((~np.isnan(ratings.values)).sum()),
        "runs": _runs(ratings, voices),
        "between_raters": _between(ratings) if len(ratings.raters) > 1 else None,
        "with_predicate": {
            name: found for name, values in voices.items() if (found := _with_predicate(ratings, values))
        },
    }


def _runs(ratings: Ratings, voices: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    rows = []
    for folder in dict.fromkeys(material.folder for material in ratings.sources):
        mine = np.array([material.folder == folder for material in ratings.sources])
        material = next(each for each in ratings.sources if each.folder == folder)
        seeds = np.array([item.seed for item in ratings.items])
        by = {name: _rates(ratings, values, mine, seeds) for name, values in voices.items()}
        by["predicate"] = _rates(ratings, ratings.predicate, mine, seeds)
        rows.append(
            {
                "run": material.source,
                "task": material.task,
                "trained": material.trained,
                "items": int(mine.sum()),
                "seeds": sorted({int(seed) for seed in seeds[mine]}),
                "by": {name: found for name, found in by.items() if found},
            }
        )
    return rows


def _rates(
    ratings: Ratings, values: np.ndarray, mine: np.ndarray, seeds: np.ndarray
) -> dict[str, Any] | None:
    """Success of one run by one rater, in all and by seed; None where this rater saw nothing of it."""
    seen = mine & ~np.isnan(values)
    if not seen.any():
        return None
    verdicts = ratings.verdict(values)
    per_seed = {
        str(seed): _rate(verdicts[seen & (seeds == seed)])
        for seed in sorted({int(each) for each in seeds[seen]})
    }
    histogram = ratings.bucket(values[seen])
    return {
        **_rate(verdicts[seen]),
        "per_seed": per_seed,
        "over_seeds": interval(mean_interval([each["rate"] for each in per_seed.values()])),
        "histogram": {str(value): int((histogram == value).sum()) for value in VALUES[ratings.mode]},
    }


def _rate(verdicts: np.ndarray) -> dict[str, Any]:
    successes, count = int(verdicts.sum()), int(verdicts.size)
    found = rate_interval(successes, count)
    return {"rate": found.value, "low": found.low, "high": found.high, "successes": successes, "rated": count}


def _between(ratings: Ratings) -> dict[str, Any]:
    """Agreement of raters: every pair's kappa, and alpha over all of them."""
    values, verdicts = ratings.values, np.stack([ratings.verdict(row) for row in ratings.values])
    groups = ratings.groups
    pairs = []
    for one, other in itertools.combinations(range(len(ratings.raters)), 2):
        both = ~np.isnan(values[[one, other]]).any(0)
        if both.any():
            first, second = values[one, both], values[other, both]
            pairs.append(
                {
                    "raters": [ratings.raters[one], ratings.raters[other]],
                    "items": int(both.sum()),
                    "same": float((first == second).mean()),
                    "same_verdict": float((verdicts[one, both] == verdicts[other, both]).mean()),
                    "kappa": _resampled(cohen_kappa, groups[both], first, second),
                    "kappa_quadratic": _resampled(_quadratic, groups[both], first, second),
                    "kappa_verdict": _resampled(
                        cohen_kappa, groups[both], verdicts[one, both], verdicts[other, both]
                    ),
                }
            )
    shared = (~np.isnan(values)).sum(0) >= 2

    def alpha(answers: np.ndarray, level: Level) -> dict[str, float]:
        statistic = lambda rows: krippendorff_alpha(rows.T, level)  # noqa: E731
        return _resampled(statistic, groups[shared], answers[:, shared].T)

    alphas = {
        "alpha_nominal": alpha(values, "nominal"),
        "alpha_ordinal": alpha(values, "ordinal"),
        "alpha_verdict": alpha(verdicts, "nominal"),
    }
    return {"items": int(shared.sum()), "pairs": pairs, **alphas}


def _with_predicate(ratings: Ratings, values: np.ndarray) -> dict[str, Any] | None:
    """Agreement of one rater's answers with the predicate; None where they share no item."""
    both = ~(np.isnan(values) | np.isnan(ratings.predicate))
    if not both.any():
        return None
    said, holds = values[both], ratings.predicate[both]
    ours, theirs, groups = ratings.verdict(said), ratings.verdict(holds), ratings.groups[both]
    return {
        "items": int(both.sum()),
        "same_verdict": _rate((ours == theirs).astype(np.float64)),
        "kappa_verdict": _resampled(cohen_kappa, groups, ours, theirs),
        "kappa_quadratic": _resampled(_quadratic, groups, said, ratings.bucket(holds)),
        "difference": float((said - holds).mean()),
        "distance": float(np.abs(said - holds).mean()),
        "counts": {
            "both": int((ours * theirs).sum()),
            "rater_only": int((ours * (1 - theirs)).sum()),
            "predicate_only": int(((1 - ours) * theirs).sum()),
            "neither": int(((1 - ours) * (1 - theirs)).sum()),
        },
    }


def _quadratic(first: np.ndarray, second: np.ndarray) -> float:
    return cohen_kappa(first, second, "quadratic")


def _resampled(statistic: Callable[..., float], groups: np.ndarray, *arrays: np.ndarray) -> dict[str, float]:
    """A statistic of items with its interval over resampled episodes; all NaN where there is no item."""
    if not len(groups):
        return interval(Interval(math.nan, math.nan, math.nan))
    return interval(bootstrap(statistic, arrays, groups=groups, resamples=500))


def interval(found: Interval) -> dict[str, float]:
    """As plain data."""
    return {"value": found.value, "low": found.low, "high": found.high}


def table(ratings: Ratings) -> str:
    """CSV with a row for every current answer, run and seed included: not for the eyes of who is still rating.

    Of a set of states it is what `jaxvlm dataset label` reads: `state,label,rater`.
    """
    column = {item.id: number for number, item in enumerate(ratings.items)}
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if all(item.state >= 0 for item in ratings.items):
        writer.writerow(["state", "label", "rater"])
        states = (ratings.items[column[answer.item]].state for answer in ratings.answers)
        writer.writerows(
            (state, answer.value, answer.rater) for state, answer in zip(states, ratings.answers, strict=True)
        )
        return text.getvalue()
    writer.writerow(["run", "seed", "episode", "step", "rater", "value", "predicate", "answered"])
    for answer in ratings.answers:
        number = column[answer.item]
        item, source = ratings.items[number], ratings.sources[number]
        step = "" if item.step < 0 else item.step
        predicate = ratings.predicate[number]
        known = "" if math.isnan(predicate) else f"{predicate:g}"
        writer.writerow(
            [source.source, item.seed, item.episode, step, answer.rater, answer.value, known, answer.at]
        )
    return text.getvalue()


def lines(summary: dict[str, Any]) -> list[str]:
    """The summary in words."""
    what = "frames of one episode" if summary["mode"] == "frame" else "episodes of one agent"
    text = [
        f"success: {summary['success']}; intervals of 95 %, Wilson's, which take answers as independent: {what} "
        "resemble each other, so look at the seeds too"
    ]
    for run in summary["runs"]:
        trained = f", after {run['trained']:,} steps" if run["trained"] else ""
        text += ["", f"{run['run']}: {run['items']} items of {len(run['seeds'])} seeds{trained}"]
        for name, found in run["by"].items():
            counts = " ".join(f"{value}:{count}" for value, count in found["histogram"].items())
            text.append(f"  {name:<16}{_percent(found)} of {found['rated']:<5} {counts}")
            if len(found["per_seed"]) > 1:
                text += [
                    f"    seed {seed:<9}{_percent(each)} of {each['rated']}"
                    for seed, each in found["per_seed"].items()
                ]
    between = summary["between_raters"]
    if between:
        text += ["", f"between raters, {between['items']} items with two answers or more"]
        for pair in between["pairs"]:
            text.append(
                f"  {' and '.join(pair['raters'])}: same answer {pair['same']:.0%} of {pair['items']}, "
                f"same verdict {pair['same_verdict']:.0%}"
            )
            text.append(
                f"    Cohen's kappa {_figure(pair['kappa'])}, quadratic {_figure(pair['kappa_quadratic'])}, "
                f"of verdicts {_figure(pair['kappa_verdict'])}"
            )
        text.append(
            f"  Krippendorff's alpha, nominal {_figure(between['alpha_nominal'])}, "
            f"ordinal {_figure(between['alpha_ordinal'])}, of verdicts {_figure(between['alpha_verdict'])}"
        )
    if summary["with_predicate"]:
        text += ["", "with the predicate"]
    for name, found in summary["with_predicate"].items():
        counts = found["counts"]
        unit, digits = (" points", 1) if summary["mode"] == "share" else ("", 2)
        text.append(
            f"  {name:<16}same verdict {_percent(found['same_verdict'])} of {found['items']}, "
            f"kappa {_figure(found['kappa_verdict'])}"
        )
        text.append(
            f"    both {counts['both']}, rater alone {counts['rater_only']}, predicate alone "
            f"{counts['predicate_only']}, neither {counts['neither']}; rater minus predicate "
            f"{found['difference']:+.{digits}f}{unit} on average, {found['distance']:.{digits}f} apart"
        )
    return text


def _percent(found: dict[str, Any]) -> str:
    return f"{found['rate']:6.1%} [{found['low']:.0%}, {found['high']:.0%}]"


def _figure(found: dict[str, float]) -> str:
    if math.isnan(found["value"]):
        return "undefined"
    if math.isnan(found["low"]):
        return f"{found['value']:.2f}"
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def histograms(path: Any, summary: dict[str, Any]) -> Any:
    """Figure 5 of the paper: how many episodes were in the goal how much of the time, a panel a run.

    Bars side by side are the raters, and the predicate's share beside them, in the nearest of the same answers. Runs
    that nobody has rated are left out.

    Raises:
      RunError: the file cannot be written.
    """
    from jaxvlm.rating.plot import bars

    panels: list[tuple[str, dict[str, Sequence[int]]]] = []
    for run in summary["runs"]:
        groups: dict[str, Sequence[int]] = {
            name: list(found["histogram"].values()) for name, found in run["by"].items() if name != ALL
        }
        # Where several rate, the medians of their answers decide.
        rater = next((name for name in (ALL, *summary["raters"]) if name in run["by"]), None)
        if rater is None:
            continue
        found = run["by"][rater]
        title = (
            f"{run['run']}\n{found['rated']} of {len(run['seeds'])} seeds, success {_percent(found).strip()}"
        )
        panels.append((title, groups))
    frame = summary["mode"] == "frame"
    labels = ["not the goal", "goal"] if frame else [f"{value}" for value in VALUES["share"]]
    return bars(path, panels, labels, xlabel="verdict" if frame else "time in the goal (%)")
