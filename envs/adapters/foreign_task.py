"""Foreign environments as tasks: `brax:ant`, `playground:CartpoleBalance`, `brax:halfcheetah-on-back`."""

from dataclasses import replace

from jaxvlm.errors import ConfigError

from ..registry import Task
from ..wrappers import TimeLimit
from .foreign import Foreign
from .goals import SHOWN, goals_of
from .sources import LIBRARIES, load_source, whole_path

STEPS = 200  # of an episode of an environment that nothing is known of


def is_foreign(name: str) -> bool:
    """Whether a task's name means an environment of another library."""
    return ":" in name


def make_foreign_task(name: str) -> Task:
    """The task `<library>:<environment>`, `<library>:<environment>-<goal>` or `mjcf:<path of a model>`.

    Without a goal the sentence has to come from the user, and success is "not at their end". The variant
    `theirs` ends episodes where the environment does, and steps that one misses for that are failures; by default only
    the time limit ends them.

    Raises:
      ConfigError: an unknown library, environment or goal, or a library that is not installed.
    """
    library, _, rest = name.partition(":")
    environment, _, goal_name = (whole_path(rest), "", "") if library == "mjcf" else rest.partition("-")
    load_source(library, environment)
    domain = f"{library}_{environment}"
    if goal_name and goal_name not in goals_of(domain):
        known = ", ".join(f"{library}:{environment}-{goal}" for goal in goals_of(domain))
        raise ConfigError(
            f"{library}:{environment} has no goal {goal_name!r}; "
            + (f"known tasks are {known}, or " if known else "")
            + f"name {library}:{environment} and give your own --prompt"
        )
    shown, goal = SHOWN.get(domain), goals_of(domain).get(goal_name)
    env = Foreign(library, environment, goal=goal_name or None, early_termination=False)
    steps = shown.steps if shown else STEPS
    return Task(
        name=f"{library}:{environment}" if library == "mjcf" else name,
        summary=goal.summary if goal else f"{environment} of {library}, any sentence: give it with --prompt",
        env=TimeLimit(env, steps),
        variants={"theirs": TimeLimit(replace(env, early_termination=True), steps)},
        algorithm="sac",
        domain=domain,
        look=env.looks[0],
        goal_prompts=(goal.prompt,) if goal else (),
        baseline_prompts=(shown.baseline if shown else "a robot",),
        opposite_prompts=(goal.opposite,) if goal else (),
        episode_length=steps,
        # Nothing says when a model is healthy: all that can be counted is whether its physics broke.
        metric=goal.metric if goal else "finite_fraction" if library == "mjcf" else "healthy_fraction",
        window=shown.window if shown and goal else steps,
        threshold=0.5,
        concept=goal.concept if goal else None,
    )


def foreign_lines() -> list[str]:
    """What help pages say of foreign tasks, a line each; imports none of the libraries."""
    known = [
        (f"{domain.replace('_', ':', 1)}-{name}", goal.summary)
        for domain, shown in SHOWN.items()
        for name, goal in shown.goals.items()
    ]
    others = [(f"{library}:ENVIRONMENT", "any that MJX can step; give a --prompt") for library in LIBRARIES]
    others.append(("mjcf:FILE.xml", "a MuJoCo model of your own; give a --prompt"))
    return [f"  {name:<28}{summary}" for name, summary in (*known, *others)]
