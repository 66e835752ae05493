"""Stands in for jaxvlm: leaves the products of a row in a moment, made up but of the right form.

    python fake_jaxvlm.py train humanoid-kneeling --seeds 3 --name NAME --runs-dir DIR

In the environment FAKE_FAILS names a row that fails, FAKE_HANGS those that wait for a signal, with commas between them;
with FAKE_MEETS=2 a training waits until a second one runs, and fails after a while.
"""

import csv
import json
import os
import random
import shlex
import signal
import struct
import sys
import time
from pathlib import Path

VERSIONS = {"jaxvlm": "0.1.0", "jax": "0.10.2", "mujoco-mjx": "3.17.0"}
DEVICES = {"backend": "cpu", "kind": "cpu", "count": 1}


def value(arguments, flag, default=None):
    return arguments[arguments.index(flag) + 1] if flag in arguments else default


def values(arguments, flag):
    start = arguments.index(flag) + 1
    end = next((i for i in range(start, len(arguments)) if arguments[i].startswith("--")), len(arguments))
    return arguments[start:end]


def metric_of(task):
    return "pose_fraction" if task.startswith("humanoid") else "goal_fraction"


def evaluate(run, task, seeds, name="evaluation", episodes=20):
    draw = random.Random(f"{run.name} {name}")
    rates, rows = [], []
    for seed in range(seeds):
        share = 0.02 if "random" in name else draw.random()
        hits = 0
        for episode in range(episodes):
            part = min(1.0, max(0.0, draw.gauss(share, 0.2)))
            hits += part >= 0.5
            rows.append([seed, episode, int(part >= 0.5), f"{part:.4g}", f"{100 * part:.4g}", "0.2", 100])
        rates.append(hits / episodes)
    mean = sum(rates) / seeds
    metric = metric_of(task)
    per_seed = {"success_rate": rates, metric: rates, "mean_clip_reward": [0.1 + rate for rate in rates]}
    result = {
        "task": task, "reward": "clip", "clip": "tiny", "episodes": episodes, "success_rate": mean,
        "clip_digest": "3faf3a34d982e883", "per_seed": per_seed, "versions": VERSIONS, "devices": DEVICES,
    }  # fmt: skip
    (run / f"{name}.json").write_text(json.dumps(result))
    with (run / f"{name}-episodes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["seed", "episode", "success", metric, "ground_truth_return", "clip_reward", "length"]
        )
        writer.writerows(rows)


def train(task, name, arguments):
    run = Path(value(arguments, "--runs-dir")) / name
    run.mkdir(parents=True, exist_ok=True)
    seeds = int(value(arguments, "--seeds", "1"))
    reward = {
        "reward": value(arguments, "--reward", "clip"), "clip": value(arguments, "--clip", "tiny"),
        "alpha": float(value(arguments, "--alpha", "0")),
    }  # fmt: skip
    config = {"task": task, "seeds": seeds, "reward": reward}
    config["steps"] = int(value(arguments, "--steps", "300000"))
    (run / "config.json").write_text(json.dumps(config))
    (run / "environment.json").write_text(json.dumps([{"versions": VERSIONS, "devices": DEVICES}]))
    levels = [0.1 * seed for seed in range(seeds)]
    rows = [
        {"step": 5000 * k, "reward": [0.01 * k + x for x in levels], "success": levels} for k in range(1, 31)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if meets := int(os.environ.get("FAKE_MEETS", "0")):
        deadline = time.monotonic() + 3.0
        while len(list(run.parent.glob("*/config.json"))) < meets:
            if time.monotonic() > deadline:
                sys.exit("jaxvlm: nobody came")
            time.sleep(0.01)
    if name in os.environ.get("FAKE_HANGS", "").split(",") and not (run / "asked").exists():
        (run / "asked").write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
        print("learning", flush=True)
        time.sleep(60)
    evaluate(run, task, seeds)


def landscape(task, arguments):
    from jaxvlm.clip.naming import stem_of  # not at the top: as a program this knows no other packages

    folder = Path(value(arguments, "--output"))
    folder.mkdir(parents=True, exist_ok=True)
    clip = value(arguments, "--clip")
    xs = [-180 + 6 * i for i in range(61)] if task == "cartpole" else [-1.2 + 0.03 * i for i in range(61)]
    lines = ["x,alpha_0,alpha_0.5,alpha_1"]
    for x in xs:
        level = -abs(x) / 90 if task == "cartpole" else x
        lines.append(f"{x},{level},{1.2 * level + 0.1 * (len(clip) % 3) * level * level},{level + 0.2 * x}")
    (folder / f"{stem_of(task, clip)}.csv").write_text("\n".join(lines) + "\n")


def clip_train(arguments):
    folder = Path(value(arguments, "--output"))
    folder.mkdir(parents=True)
    width = int(value(arguments, "--width", "128"))
    header = json.dumps(
        {"tower": {"dtype": "F32", "shape": [width, 40 * width], "data_offsets": [0, 0]}}
    ).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    keys = ("seed", "steps", "width")
    config = {key: int(value(arguments, f"--{key}")) for key in keys if f"--{key}" in arguments}
    (folder / "figures.json").write_text(json.dumps({"config": config}))


def epic(arguments):
    folder = Path(value(arguments, "--output"))
    folder.mkdir(parents=True, exist_ok=True)
    rows, histograms = [], []
    goals = (
        "kneeling",
        "lotus",
        "standing",
        "arms-raised",
        "splits",
        "hands-on-hips",
        "one-leg",
        "arms-crossed",
    )
    for index, clip in enumerate(values(arguments, "--clip")):
        draw = random.Random(clip)
        for goal in goals:
            for alpha in map(float, values(arguments, "--alphas")):
                at = 0.6 - 0.015 * index + 0.05 * alpha * (alpha - 0.6) + draw.gauss(0, 0.01)
                line = {
                    "model": clip,
                    "label": Path(clip).name,
                    "camera": "default",
                    "goal": goal,
                    "alpha": alpha,
                }
                line |= {"parameters": 10**5 * (index + 1), "n": 6000, "groups": 300}
                counts = {"goal_counts": [0, 0, 0, 0, 1, 4, 9, 6, 2, 1], "goal_mean": 0.6}
                counts |= {"other_counts": [9, 20, 40, 30, 9, 2, 1, 0, 0, 0], "other_mean": 0.25}
                bins = {"edges": [k / 10 for k in range(11)], **counts}
                histograms.append({"model": clip, "goal": goal, "alpha": alpha, **bins})
                line |= {"epic": at, "epic_low": at - 0.02, "epic_high": at + 0.02}
                rows.append(line | {"auc": 0.9, "auc_low": 0.88, "auc_high": 0.92})
    (folder / f"{value(arguments, '--name')}.json").write_text(
        json.dumps(
            {
                "dataset_name": Path(arguments[1]).name,
                "cameras": ["default"],
                "rows": rows,
                "histograms": histograms,
            }
        )
    )


def transfer(arguments):
    folder = Path(value(arguments, "--runs-dir")) / value(arguments, "--name")
    folder.mkdir(parents=True)
    arms = {"random": 2300, "uniform": 2100, "language-nearest": 4500, "language": 2050, "clip-rl": 1900,
            "clip-rl-shuffled": 1880, "soft-target": 1650, "ridge": 1400, "oracle": 350}  # fmt: skip
    draw = random.Random(folder.name)
    with (folder / "runs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arm", "seed", "target", "steps", "reached", "zero_shot", "few_shot", "final"])
        for arm, steps in arms.items():
            for seed in range(int(value(arguments, "--seeds"))):
                writer.writerows(
                    [arm, seed, k, int(steps * draw.uniform(0.8, 1.2)), True, 0.1, 0.5, 1] for k in range(8)
                )


def main(arguments):
    verb = arguments[0]
    fails = os.environ.get("FAKE_FAILS")
    own = (value(arguments, "--name"), Path(value(arguments, "--output", "x")).name)
    if fails and fails in (*own, Path(arguments[1]).name if verb == "evaluate" else None):
        print("jaxvlm: made to fail", file=sys.stderr)
        sys.exit(2)
    if verb == "train":
        tasks, name = arguments[1].split(","), value(arguments, "--name")
        for task in tasks:
            train(task, name if len(tasks) == 1 else f"{task}-{name}", arguments)
    elif verb == "resume":
        run = Path(arguments[1])
        config = json.loads((run / "config.json").read_text())
        evaluate(run, config["task"], config["seeds"])
    elif verb == "evaluate":
        run = Path(arguments[1])
        config = json.loads((run / "config.json").read_text())
        which = value(arguments, "--checkpoint")
        name = f"evaluation-{which}-100" if which else "evaluation"
        evaluate(run, config["task"], config["seeds"], name)
    elif verb == "landscape":
        landscape(arguments[1], arguments)
    elif arguments[:2] == ["clip", "train"]:
        clip_train(arguments)
    elif arguments[:2] == ["dataset", "make"]:
        folder = Path(value(arguments, "--output")) / value(arguments, "--name")
        folder.mkdir(parents=True)
        (folder / "dataset.json").write_text(json.dumps({"command": [shlex.join(["jaxvlm", *arguments])]}))
    elif verb == "epic":
        epic(arguments)
    elif verb == "transfer":
        transfer(arguments)
    else:
        sys.exit(f"jaxvlm: the stand-in knows no {verb}")


if __name__ == "__main__":
    main(sys.argv[1:])
