"""What a probe prints."""

from collections.abc import Sequence

from jaxvlm.cli.probe_search import Found

WIDTH = 52  # characters of a sentence in the table


def print_table(rows: Sequence[Found]) -> None:
    """A line for each sentence: how it ranks random states, and where its best states are."""
    judged = rows[0].auc is not None
    ranks, columns = ("AUC", "as first"), ("met", "fooled", "best", "goal median", "goal best")
    if judged:
        heads = "".join(f"{head:>{width}}" for head, width in zip(columns, (8, 8, 8, 13, 11), strict=True))
        print(f"{'':<12}{ranks[0]:>20}{ranks[1]:>10}{heads}   sentence")
    else:
        print(f"{'':<12}{ranks[1]:>10}{'best':>8}{'of random':>11}   sentence")
    for row in rows:
        text = row.text if len(row.text) <= WIDTH else row.text[: WIDTH - 1] + "…"
        best = row.optima[0].score
        if row.auc is None or row.counts is None:
            print(f"{row.use:<12}{row.with_first:>10.2f}{best:>8.3f}{row.sampled_best:>11.3f}   {text}")
            continue
        fooled = "-" if row.use == "opposite" or row.goal_median is None else _share(row.counts.fooled, row)
        area = f"{row.auc.value:.3f} [{row.auc.low:.2f}, {row.auc.high:.2f}]"
        print(
            f"{row.use:<12}{area:>20}{row.with_first:>10.2f}{_share(row.counts.met, row):>8}"
            f"{fooled:>8}{best:>8.3f}{_number(row.goal_median):>13}"
            f"{_number(row.goal_best):>11}   {text}"
        )


def describe_row(row: Found, many: bool) -> str:
    """The verdict, and what else the optima have in common."""
    parts = [row.verdict]
    if row.counts is not None and row.counts.fooled and row.use != "opposite":
        worst = next(optimum for optimum in row.optima if optimum.fooled)
        if worst.missed:
            parts.append(f"the best of them: {', '.join(missed.short for missed in worst.missed[:3])}")
    held = [optimum.held for optimum in row.optima if optimum.holds and optimum.held is not None]
    if held:
        parts.append(f"after half a second of physics {sum(held)} of the {len(held)} still meet it")
    parts.append(f"{row.different} of the {len(row.optima)} are clearly different")
    return (f"{row.text}: " if many else "") + "; ".join(parts)


def _share(count: int, row: Found) -> str:
    return f"{count}/{len(row.optima)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
