"""What may help where a reward is fooled: alpha, a second camera, a CLIP that has learned from what fooled it."""

from dataclasses import replace

from jaxvlm.reproduce.figure import Block, Place, Row, Table, Text
from jaxvlm.reproduce.fooling import figures_of, fooled, fooling, interval_of, known_columns
from jaxvlm.reproduce.material import Material, Trained
from jaxvlm.reproduce.poses import FAILING, drawn, name_of, pose_row, seeds_of
from jaxvlm.reproduce.scaling import SHARED, SIZES, agent_name, agent_rows, clip_rows, full

ALPHAS = (0.2, 0.4, 0.6)  # of the remedy, as in figure 8
ALPHA = 0.4  # of the remedy on kneeling, with the small CLIP of the other remedies
CAMERAS = ("--camera", "default", "side")  # of the remedy by a second view
SMALL = "s"  # the size of the CLIPs that the remedies are tried with


def remedy_rows(place: Place) -> list[Row]:
    """Those on kneeling; of alpha on the poses that the paper did not learn there are rows with the other poses."""
    if not place.clips:
        return _of_small_clips(place)
    # These two train no CLIP. A checkpoint that was given is taken as it is and learns from nothing that fooled it.
    given = [pose_row("kneeling", ALPHA, place), _two_cameras(place)]
    return [*given, *(fooled(row, place) for row in given)]


def _two_cameras(place: Place) -> Row:
    """Kneeling from what a checkpoint that was given makes of two views."""
    return place.train(
        place.named("humanoid-kneeling-cameras"), "humanoid-kneeling", *CAMERAS, minutes=place.budget.minutes * 1.6
    )  # fmt: skip


def _of_small_clips(place: Place) -> list[Row]:
    """Alpha, a second camera, and a CLIP that has learned from what fooled the one before; with CLIPs of one size.

    That last one is one round: states are mined once, a CLIP is trained anew with them, its agents are measured.
    """
    size = next(size for size in SIZES if size.name == SMALL)
    first = next(model for model in full(place) if model.size == SMALL)
    base = [row for row in clip_rows(place) if row.name == first.row]
    agents = next(row for row in agent_rows(place) if row.name == agent_name(first, place))
    recipe = ("--steps", str(first.steps), "--seed", "0", *SHARED, *size.flags)
    sides = place.clip_train("s-1500-sides", "humanoid", *recipe, *CAMERAS, minutes=size.minutes * 1.6)
    states = str(place.folder / "runs" / agents.name / "fooled.npz")
    mined = place.clip_train("s-1500-mined", "humanoid", *recipe, "--states", states, minutes=size.minutes)
    mined = replace(mined, needs=(f"{agents.name}-fooled",))
    clips = place.folder / "clips"
    with_alpha = place.train(
        f"{agents.name}-a{ALPHA:g}", "humanoid-kneeling", "--clip", first.clip, "--alpha", f"{ALPHA:g}",
        needs=(first.row,) if first.row else (),
    )  # fmt: skip
    with_sides = place.train(
        "humanoid-kneeling-s-sides", "humanoid-kneeling", "--clip", str(clips / "s-1500-sides"),
        *CAMERAS, needs=(sides.name,), minutes=place.budget.minutes * 1.6,
    )  # fmt: skip
    with_mined = place.train(
        "humanoid-kneeling-s-mined", "humanoid-kneeling", "--clip", str(clips / "s-1500-mined"), needs=(mined.name,)
    )  # fmt: skip
    return [
        *base,
        agents, fooled(agents, place),
        with_alpha, fooled(with_alpha, place),
        sides, with_sides, fooled(with_sides, place),
        mined, fooled(agents, place, clip="s-1500-mined"), with_mined, fooled(with_mined, place),
    ]  # fmt: skip


def helped(found: Material) -> list[Block]:
    """What the remedies do."""
    tried: list[tuple[str, Trained | None, str | None]] = [
        (f"{pose}, alpha {alpha:g}", found.run(name_of(pose, alpha, found.place)), None)
        for pose in FAILING
        for alpha in (0.0, *ALPHAS)
    ]
    plain = found.run("humanoid-kneeling-s")
    small = [
        ("kneeling, small CLIP, front", plain, None),
        (f"the same with alpha {ALPHA:g}", found.run(f"humanoid-kneeling-s-a{ALPHA:g}"), None),
        ("the agents of alpha 0, judged by the CLIP that has learned from them", plain, "s-1500-mined"),
        ("agents of that CLIP", found.run("humanoid-kneeling-s-mined"), None),
        (
            "agents of a small CLIP of two cameras, front and side",
            found.run("humanoid-kneeling-s-sides"),
            None,
        ),
    ]
    lines, most = [], 1
    given = [
        ("kneeling, front", found.run(name_of("kneeling", 0.0, found.place)), None),
        (f"the same with alpha {ALPHA:g}", found.run(name_of("kneeling", ALPHA, found.place)), None),
        ("agents of two cameras, front and side", found.run(_two_cameras(found.place).name), None),
    ]
    # What stands in the folder from before is not of the checkpoints that were given.
    for words, run, clip in [*tried, *(given if found.place.clips else small)]:
        if run and (clip is None or figures_of(run, clip)):
            figures, most = figures_of(run, clip), max(most, run.seeds)
            lines.append(
                (
                    words,
                    None if clip else run.success,
                    *(interval_of(figures, key) for key in ("auc", "fooled_share", "clearly_fooled_share")),
                    seeds_of([run]),
                )
            )
    if not lines:
        return []
    header, rows = known_columns(
        ("remedy", "success", "AUC at play", "states that fool", "clearly", "seeds"), lines
    )
    runs = [
        (pose, alpha, found.run(name_of(pose, alpha, found.place))) for pose in FAILING for alpha in ALPHAS
    ]
    return [
        Text(
            "Remedies: goal-baseline regularisation on the poses that the paper did not learn, beside alpha 0"
            + _on_kneeling(found.place, plain)
        ),
        Table(
            header=header,
            rows=rows,
            caption="Success of deterministic actions; at play they are sampled. "
            f"{drawn(most)[0].upper()}{drawn(most)[1:]}.",
        ),
        *(
            picture
            for pose, alpha, run in runs
            if run and (picture := fooling(run, f"humanoid-{pose}, alpha {alpha:g}")) is not None
        ),
    ]


def _on_kneeling(place: Place, plain: Trained | None) -> str:
    """What the text says of the remedies on kneeling; `plain` are the agents of the small CLIP."""
    both = "; on kneeling the same, and a second camera that sees what the first does not"
    if place.clips:
        return f"{both}."
    if plain is None:
        return "."
    return (
        f"{both}, and a CLIP that has learned from the states that fooled it. That is one round: states are mined once "
        "from the agents of the first CLIP, a CLIP is trained anew with them, and agents that learn from it are "
        "measured; nothing was mined from these again. The small CLIPs are trained alike, for 1,500 steps; the figures "
        "at play of the one that has learned from states are of episodes that it has not learned from."
    )
