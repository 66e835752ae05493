"""What the raters said: success with intervals, agreement with one another and with the predicates."""

import csv
import io
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation.intervals import Interval, bootstrap, mean_interval, rate_interval
from jaxvlm.rating.agreement import Level, cohen_kappa, krippendorff_alpha
from jaxvlm.rating.material import Item, Material
from jaxvlm.rating.session import VALUES, Mode, Session
from jaxvlm.rating.store import ALL, PREDICATE, Answer, is_taken

SUCCESS = 50  # per cent of an episode's steps that make it a success where the task has the paper's rule


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
        """The session's answers; raises `ConfigError` where there are none yet, or a rater is called as no one may."""
        answers = sorted(session.answers(), key=lambda answer: answer.at)
        if not answers:
            raise ConfigError("nobody has rated these yet: leave --report out and answer in the browser")
        for answer in answers:
            if is_taken(answer.rater):
                path = session.items[answer.item][0].answers
                raise ConfigError(
                    f"a rater of {path} is called {answer.rater!r}, as a row of the report is: give another name with "
                    f"the SQL statement UPDATE answers SET rater = 'another name' WHERE rater = '{answer.rater}'"
                )
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
            keys.setdefault((material.folder, item.source, item.seed, item.episode), len(keys))
        return np.array(
            [
                keys[material.folder, item.source, item.seed, item.episode]
                for material, item in zip(self.sources, self.items, strict=True)
            ]
        )

    @property
    def together(self) -> np.ndarray:
        """Median of an item's answers, f64[item]; NaN where there is none."""
        columns = [column[~np.isnan(column)] for column in self.values.T]
        return np.array([np.median(column) if column.size else math.nan for column in columns])

    @property
    def told(self) -> np.ndarray:
        """Whether an answer to an item tells success, bool[item]: a frame's does, a share where the task's rule is it.

        A quarter of all steps more or less says nothing of, say, the last step or of each of two phases.
        """
        return np.array(
            [
                self.mode == "frame"
                or (material.rule is not None and material.rule.told_by_share_of(item.steps))
                for material, item in zip(self.sources, self.items, strict=True)
            ]
        )

    def verdict(self, values: np.ndarray) -> np.ndarray:
        """Success, or the goal, by one rater's answers f64[item], as 0 and 1.

        NaN stays NaN, and stands where answers do not tell success. A tie of two raters' verdicts on a frame is the
        goal.
        """
        least = SUCCESS if self.mode == "share" else 0.5
        # A predicate's share is a ratio of steps in floating point: 50 of 100 has to stay a success.
        said = (values >= least - 1e-6).astype(np.float64)
        return np.where(np.isnan(values) | ~self.told, np.nan, said)

    @property
    def outcome(self) -> np.ndarray:
        """The predicate's verdict as 0 and 1, f64[item]: what `jaxvlm evaluate` says of an episode.

        NaN where there is no predicate, and where it was not noted and the share does not tell it.
        """
        noted = np.array([math.nan if item.success is None else float(item.success) for item in self.items])
        return np.where(np.isnan(noted), self.verdict(self.predicate), noted)

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
        verdicts = {name: ratings.verdict(values) for name, values in voices.items()}
        by = {name: _rates(ratings, values, verdicts[name], mine, seeds) for name, values in voices.items()}
        by[PREDICATE] = _rates(ratings, ratings.predicate, ratings.outcome, mine, seeds)
        rows.append(
            {
                "run": material.source,
                "folder": material.origin,
                "task": material.task,
                "success": _success(ratings.mode, material),
                "told_by_raters": bool(ratings.told[mine].all()),
                "trained": material.trained,
                "actions": material.actions,
                "items": int(mine.sum()),
                "seeds": sorted({int(seed) for seed in seeds[mine]}),
                "by": {name: found for name, found in by.items() if found},
            }
        )
    return rows


def _success(mode: Mode, material: Material) -> str | None:
    """What a success is, in words; None where nobody noted it."""
    if mode == "frame":
        return "the frame shows the goal"
    return material.rule.words if material.rule else None


def _rates(
    ratings: Ratings, values: np.ndarray, verdicts: np.ndarray, mine: np.ndarray, seeds: np.ndarray
) -> dict[str, Any] | None:
    """Success and answers of one run by one rater, in all and by seed; None where this rater saw nothing of it."""
    seen, episodes = mine & ~np.isnan(values), ratings.groups
    if not seen.any():
        return None

    def figures(rows: np.ndarray) -> dict[str, Any]:
        nearest = ratings.bucket(values[rows])
        return {
            **_rate(verdicts[rows]),
            "drawn": interval(_drawn(verdicts[rows], seeds[rows], episodes[rows])),
            "answers": int(rows.sum()),
            "share": interval(_mean(values[rows], seeds[rows], episodes[rows])),
            "histogram": {str(value): int((nearest == value).sum()) for value in VALUES[ratings.mode]},
        }

    per_seed = {
        str(seed): figures(seen & (seeds == seed)) for seed in sorted({int(each) for each in seeds[seen]})
    }
    rates = [each["rate"] for each in per_seed.values() if not math.isnan(each["rate"])]
    over_seeds = mean_interval(rates) if rates else Interval(math.nan, math.nan, math.nan)
    return {**figures(seen), "per_seed": per_seed, "over_seeds": interval(over_seeds)}


def _mean(values: np.ndarray, seeds: np.ndarray, episodes: np.ndarray) -> Interval:
    """Mean of answers f64[n]; of several seeds whole ones are drawn, of one its episodes: those within resemble."""
    several = len(set(seeds.tolist())) > 1
    return bootstrap(lambda row: float(np.mean(row)), [values], groups=seeds if several else episodes)


def _drawn(verdicts: np.ndarray, seeds: np.ndarray, episodes: np.ndarray) -> Interval:
    """Share of successes of the verdicts f64[n] that are known, with an interval for answers that resemble each other.

    Of several seeds whole ones are drawn, of one its episodes. Seeds that happen to agree would promise too much, so
    the interval is never narrower than Wilson's, which takes all answers as independent.
    """
    known = ~np.isnan(verdicts)
    if not known.any():
        return Interval(math.nan, math.nan, math.nan)
    value, low, high = rate_interval(int(verdicts[known].sum()), int(known.sum()))
    drawn = _mean(verdicts[known], seeds[known], episodes[known])
    return Interval(value, float(np.fmin(low, drawn.low)), float(np.fmax(high, drawn.high)))


def _rate(verdicts: np.ndarray) -> dict[str, Any]:
    """Share of successes of the verdicts that are known; NaN where none is."""
    known = verdicts[~np.isnan(verdicts)]
    successes, count = int(known.sum()), int(known.size)
    found = rate_interval(successes, count) if count else Interval(math.nan, math.nan, math.nan)
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
            judged = both & ~np.isnan(verdicts[[one, other]]).any(0)
            pairs.append(
                {
                    "raters": [ratings.raters[one], ratings.raters[other]],
                    "items": int(both.sum()),
                    "same": float((first == second).mean()),
                    "judged": int(judged.sum()),
                    "same_verdict": _rate(_same(verdicts[one], verdicts[other]))["rate"],
                    "kappa": _resampled(cohen_kappa, groups[both], first, second),
                    "kappa_quadratic": _resampled(_quadratic, groups[both], first, second),
                    "kappa_verdict": _resampled(
                        cohen_kappa, groups[judged], verdicts[one, judged], verdicts[other, judged]
                    ),
                }
            )

    def alpha(answers: np.ndarray, level: Level) -> dict[str, float]:
        shared = (~np.isnan(answers)).sum(0) >= 2
        statistic = lambda rows: krippendorff_alpha(rows.T, level)  # noqa: E731
        return _resampled(statistic, groups[shared], answers[:, shared].T)

    alphas = {
        "alpha_nominal": alpha(values, "nominal"),
        "alpha_ordinal": alpha(values, "ordinal"),
        "alpha_verdict": alpha(verdicts, "nominal"),
    }
    return {"items": int(((~np.isnan(values)).sum(0) >= 2).sum()), "pairs": pairs, **alphas}


def _with_predicate(ratings: Ratings, values: np.ndarray) -> dict[str, Any] | None:
    """Agreement of one rater's answers with the predicate; None where they share no item."""
    both = ~(np.isnan(values) | np.isnan(ratings.predicate))
    if not both.any():
        return None
    said, holds, groups = values[both], ratings.predicate[both], ratings.groups
    ours, theirs = ratings.verdict(values), ratings.outcome
    same = _same(ours, theirs)
    judged = ~np.isnan(same)
    ours, theirs = ours[judged], theirs[judged]
    return {
        "items": int(both.sum()),
        "same_verdict": _rate(same),
        "kappa_verdict": _resampled(cohen_kappa, groups[judged], ours, theirs),
        "kappa_quadratic": _resampled(_quadratic, groups[both], said, ratings.bucket(holds)),
        "difference": float((said - holds).mean()),
        "distance": float(np.abs(said - holds).mean()),
        "counts": {
            "both": int((ours * theirs).sum()),
            "rater_only": int((ours * (1 - theirs)).sum()),
            "predicate_only": int(((1 - ours) * theirs).sum()),
            "neither": int(((1 - ours) * (1 - theirs)).sum()),
        },
    }


def _same(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether two verdicts f64[item] agree, as 0 and 1; NaN where one is not known."""
    return np.where(np.isnan(first) | np.isnan(second), np.nan, (first == second).astype(np.float64))


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
    place = ["run", "seed", "episode", "step"]
    writer.writerow([*place, "rater", "value", "predicate", "answered", "success", "folder"])
    known = lambda value: "" if math.isnan(value) else f"{value:g}"  # noqa: E731
    predicate, outcome = map(known, ratings.predicate), map(known, ratings.outcome)
    told = list(zip(predicate, outcome, strict=True))
    for answer in ratings.answers:
        number = column[answer.item]
        item, source = ratings.items[number], ratings.sources[number]
        step = "" if item.step < 0 else item.step
        share, success = told[number]
        about = [source.source, item.seed, item.episode, step]
        writer.writerow([*about, answer.rater, answer.value, share, answer.at, success, source.origin])
    return text.getvalue()


def lines(summary: dict[str, Any]) -> list[str]:
    """The summary in words."""
    share = summary["mode"] == "share"
    text = [
        "intervals of 95 %. Of success"
        + (" and of mean shares" if share else "")
        + " they draw whole seeds, which of two or three is from the lowest to the highest, and of one seed its "
        "episodes; those of success are never narrower than Wilson's, which takes answers as independent. Agreement in "
        "per cent has Wilson's"
    ]
    for run, label in zip(summary["runs"], _labels(summary["runs"]), strict=True):
        trained = f", after {run['trained']:,} steps" if run["trained"] else ""
        sampled = ", actions sampled" if run["actions"] == "sampled" else ""
        counted = f"{run['items']} items of {_counted(run['seeds'])}"
        text += ["", f"{label}: {counted}{trained}{sampled}", _rule(run)]
        for name, found in run["by"].items():
            counts = " ".join(f"{value}:{count}" for value, count in found["histogram"].items())
            mean = f"mean share {_mean_share(found)} " if share else ""
            text.append(f"  {name:<16}{_of(found)} {mean} {counts}")
            if len(found["per_seed"]) > 1:
                text += [
                    f"    seed {seed:<9}{_of(each)}" + (f" mean share {_mean_share(each)}" if share else "")
                    for seed, each in found["per_seed"].items()
                ]
    between = summary["between_raters"]
    if between:
        text += ["", f"between raters, {between['items']} items with two answers or more"]
        for pair in between["pairs"]:
            same = f", same verdict {pair['same_verdict']:.0%}" if pair["judged"] else ""
            kappa = f", of verdicts {_figure(pair['kappa_verdict'])}" if pair["judged"] else ""
            text.append(
                f"  {' and '.join(pair['raters'])}: same answer {pair['same']:.0%} of {pair['items']}{same}"
            )
            text.append(
                f"    Cohen's kappa {_figure(pair['kappa'])}, quadratic {_figure(pair['kappa_quadratic'])}{kappa}"
            )
        told = any(pair["judged"] for pair in between["pairs"])
        text.append(
            f"  Krippendorff's alpha, nominal {_figure(between['alpha_nominal'])}, "
            f"ordinal {_figure(between['alpha_ordinal'])}"
            + (f", of verdicts {_figure(between['alpha_verdict'])}" if told else "")
        )
    if summary["with_predicate"]:
        text += ["", "with the predicate"]
    for name, found in summary["with_predicate"].items():
        counts, same = found["counts"], found["same_verdict"]
        unit, digits = (" points", 1) if share else ("", 2)
        apart = (
            f"rater minus predicate {found['difference']:+.{digits}f}{unit} on average, "
            f"{found['distance']:.{digits}f} apart"
        )
        if not same["rated"]:
            text.append(
                f"  {name:<16}shares of {found['items']}: quadratic kappa {_figure(found['kappa_quadratic'])}; {apart}"
            )
            continue
        text.append(
            f"  {name:<16}same verdict {_percent(same)} of {same['rated']}, kappa {_figure(found['kappa_verdict'])}"
        )
        text.append(
            f"    both {counts['both']}, rater alone {counts['rater_only']}, predicate alone "
            f"{counts['predicate_only']}, neither {counts['neither']}; {apart}"
        )
    return text


def _rule(run: dict[str, Any]) -> str:
    """A line on what a success of a run is, and who tells it."""
    if run["success"] is None:
        return "  success: not known, as an earlier version recorded this; open its page once more and report again"
    if run["told_by_raters"]:
        return f"  success: {run['success']}"
    predicate = run["by"].get(PREDICATE, {"answers": 0, "rated": 0})
    unknown = predicate["answers"] - predicate["rated"]
    return (
        f"  success: {run['success']}. The predicate tells it; success by people is not defined by this scale, the "
        "share of all steps, so their mean share stands alone"
        + (f". Of {unknown} episodes an earlier version recorded it was not noted" if unknown else "")
    )


def _labels(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Names of runs; those of one name with as much of their folders as it takes to tell them apart."""
    paths = [PurePath(run["folder"] or run["run"]).parts for run in runs]
    labels = []
    for run, path in zip(runs, paths, strict=True):
        if sum(other["run"] == run["run"] for other in runs) == 1:
            labels.append(run["run"])
            continue
        alike = [other for other in paths if other[-1:] == path[-1:]]
        kept = next(
            (n for n in range(1, len(path)) if sum(other[-n:] == path[-n:] for other in alike) == 1),
            len(path),
        )
        labels.append(str(PurePath(*path[-kept:])))
    return labels


def _of(found: dict[str, Any]) -> str:
    """Success, and of how many; blanks where it is not told, so that columns stay."""
    if found["rated"]:
        return f"{_percent(found)} of {found['rated']:<5}"
    return f"{'':<20} of {found['answers']:<5}"


def _mean_share(found: dict[str, Any]) -> str:
    share = found["share"]
    ends = "" if math.isnan(share["low"]) else f" [{share['low']:.0f}%, {share['high']:.0f}%]"
    return f"{share['value']:.1f}%{ends}"


def _percent(found: dict[str, Any]) -> str:
    ends = found.get("drawn", found)
    return f"{found['rate']:6.1%} [{ends['low']:.0%}, {ends['high']:.0%}]"


def _figure(found: dict[str, float]) -> str:
    if math.isnan(found["value"]):
        return "undefined"
    if math.isnan(found["low"]):
        return f"{found['value']:.2f}"
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def histograms(path: Any, summary: dict[str, Any]) -> Any:
    """Figure 5 of the paper: how many episodes were in the goal how much of the time, a panel a run.

    Bars side by side are the raters, and the predicate's share beside them, in the nearest of the same answers. A
    panel's title has the number of answers and success, or the mean share, with its interval. Runs that nobody has
    rated are left out.

    Raises:
      RunError: the file cannot be written.
    """
    from jaxvlm.rating.plot import bars

    panels: list[tuple[str, dict[str, Sequence[int]]]] = []
    for run, label in zip(summary["runs"], _labels(summary["runs"]), strict=True):
        groups: dict[str, Sequence[int]] = {
            name: list(found["histogram"].values()) for name, found in run["by"].items() if name != ALL
        }
        # Where several rate, the medians of their answers decide.
        rater = next((name for name in (ALL, *summary["raters"]) if name in run["by"]), None)
        if rater is None:
            continue
        found = run["by"][rater]
        figure = (
            f"success {_percent(found).strip()}" if found["rated"] else f"mean share {_mean_share(found)}"
        )
        label += ", actions sampled" if run["actions"] == "sampled" else ""
        title = f"{label}\nn = {found['rated'] or found['answers']}, {_counted(run['seeds'])}, {figure}"
        panels.append((title, groups))
    frame = summary["mode"] == "frame"
    labels = ["not the goal", "goal"] if frame else [f"{value}" for value in VALUES["share"]]
    return bars(
        path,
        panels,
        labels,
        xlabel="verdict" if frame else "time in the goal (%)",
        caption="Intervals draw whole seeds (of two or three: from the lowest to the highest), of one seed its "
        "episodes; of success never narrower than Wilson's",
    )


def _counted(seeds: Sequence[int]) -> str:
    return "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
