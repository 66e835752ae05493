"""VLM-RM's table 1 and figure 3: the eight poses of the humanoid beside the paper's success rates and the controls.

    python benchmarks/table1.py --together                         # everything, preset default (one GPU)
    python benchmarks/table1.py --preset laptop kneeling standing  # some poses on two CPU cores, hours
    python benchmarks/table1.py --preset laptop --only ablation    # figure 3: looks and cameras, on kneeling
    python benchmarks/table1.py --table                            # only the tables of what is finished
    python benchmarks/table1.py --table --pictures DIRECTORY       # and what the agents of the CLIP rows do
    python benchmarks/table1.py --clip PATH --folder runs/other ...    # another checkpoint than the embedded one
    python benchmarks/table1.py --clip tiny:humanoid-112 --camera default side --folder ...   # views to average over

Each row is one `jaxvlm train` with several seeds in one program, in `--folder`, which holds rows of one preset, number
of seeds and of steps, CLIP and views, as `table1.json` there says. With `--together` all poses share a
program, those learned from an untrained CLIP too. A finished row is not trained again and a stopped one is resumed.
The agent of a seed is the one that earned the most CLIP reward in training. Of the seeds that one stands in bold and
is pictured whose agent earned most, whatever its success, as in the paper. Success is by the pose's predicate in at
least half of an episode's steps.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxvlm.reproduce.material import Trained

# Table 1 of arXiv 2310.12921: ViT-bigG-14, best of 4 seeds, rated by a person.
PAPER = {
    "kneeling": 1.00,
    "lotus": 1.00,
    "standing": 1.00,
    "arms-raised": 1.00,
    "splits": 1.00,
    "hands-on-hips": 0.64,
    "one-leg": 0.00,
    "arms-crossed": 0.00,
}
# Figure 3, kneeling: (look, camera) and the paper's success rate.
ABLATION = {
    "original-original": ("original", "original", 0.36),
    "textured-original": ("textured", "original", 0.91),
    "textured-modified": ("textured", "modified", 1.00),
}
VARIANTS = {
    "clip": (),
    "untrained": ("--clip", "untrained"),
    "predicate": ("--reward", "ground-truth"),
    # What the embedded CLIP is taught to say, known exactly: beside it shows what its mistakes cost.
    "graded": ("--reward", "ground-truth", "--variant", "graded"),
}
CONTROLS = ("random", "zero")


def jaxvlm(*arguments: str) -> None:
    """Runs the command line."""
    print("jaxvlm " + " ".join(arguments), flush=True)
    subprocess.run([sys.executable, "-m", "jaxvlm", *arguments], check=True)


def of_variant(variant: str, clip: str, cameras: list[str]) -> list[str]:
    """Flags of a column; the untrained CLIP has the shape of the embedded one that is asked for."""
    seen = ["--camera", *cameras] if cameras and variant in ("clip", "untrained") else []
    if variant == "clip":
        return ["--clip", clip, *seen]
    if variant == "untrained" and clip.startswith("tiny:"):
        return ["--clip", clip.replace("tiny", "untrained", 1), *seen]
    return [*VARIANTS[variant], *seen]


def train(name: str, task: str, flags: list[str], folder: Path) -> None:
    """Trains a row unless it is finished; goes on with one that was stopped."""
    run = folder / name
    if (run / "evaluation.json").exists():
        return
    if run.exists():  # without a checkpoint it begins anew
        jaxvlm("resume", name, "--runs-dir", str(folder))
    else:
        jaxvlm("train", task, *flags, "--name", name, "--runs-dir", str(folder))


def train_together(rows: list[tuple[str, str, list[str]]], folder: Path) -> None:
    """Trains the rows that were never begun, (name, task, flags) each, in one program."""
    from jaxvlm.cli.together import train_together
    from jaxvlm.cli.train import settings

    rows = [row for row in rows if not (folder / row[0]).exists()]
    if not rows:
        return
    configs = []
    for _, task, flags in rows:
        preset, rest = flags[flags.index("--preset") + 1], list(flags)
        del rest[rest.index("--preset") : rest.index("--preset") + 2]
        configs.append(settings(task, preset, rest).config)
    train_together(configs, names=[name for name, *_ in rows], runs_dir=folder, sinks=())


def claim(folder: Path, settings: dict) -> None:
    """Notes the settings of a folder's rows; raises SystemExit where its rows have others."""
    record = folder / "table1.json"
    if record.exists() and (held := json.loads(record.read_text(encoding="utf-8"))) != settings:
        differing = [name for name in settings if held.get(name) != settings[name]]
        told = ", ".join(f"{name} {held.get(name)} and not {settings[name]}" for name in differing)
        raise SystemExit(f"{folder} holds rows with {told}; choose another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def control(name: str, which: str, folder: Path) -> None:
    """Evaluates a policy that learned nothing on the task of a run."""
    if not list((folder / name).glob(f"evaluation-{which}-*.json")):
        jaxvlm("evaluate", name, "--checkpoint", which, "--runs-dir", str(folder))


def result(path: Path) -> dict | None:
    """An evaluation's figures, None where there are none yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def finished(run: Path) -> "Trained | None":
    """A run that was trained and evaluated; None where there is none yet."""
    from jaxvlm.reproduce.material import Trained

    return Trained(run) if (run / "evaluation.json").exists() else None


def chosen_and_each(run: "Trained | None") -> str:
    """Success of the seed whose agent earned the most reward in training, and of each seed."""
    if run is None:
        return "-"
    return f"**{run.rates[run.chosen]:.2f}** ({', '.join(f'{rate:.2f}' for rate in run.rates)})"


def table(poses: list[str], folder: Path) -> str:
    """Markdown: a row a pose."""
    lines = [
        "| pose | paper, by eye | CLIP reward: chosen (each seed) | share of steps | CLIP untrained "
        "| predicate as reward | graded truth as reward | random | no action | steps of a seed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for pose in poses:
        names = {variant: folder / f"{pose}-{variant}" for variant in VARIANTS}
        runs = {variant: finished(path) for variant, path in names.items()}
        if not any(runs.values()):
            continue
        controls = []
        for which in CONTROLS:
            found = sorted(
                path for folder_ in names.values() for path in folder_.glob(f"evaluation-{which}-*.json")
            )
            controls.append(f"{result(found[0])['success_rate']:.2f}" if found else "-")  # pyright: ignore[reportOptionalSubscript]
        trained = runs["clip"]
        share = f"{trained.evaluation['pose_fraction']:.2f}" if trained else "-"
        configs = [json.loads((path / "config.json").read_text()) for path in names.values() if path.exists()]
        lines.append(
            f"| {pose} | {PAPER[pose]:.2f} | {chosen_and_each(trained)} | {share} | "
            f"{chosen_and_each(runs['untrained'])} | {chosen_and_each(runs['predicate'])} | "
            f"{chosen_and_each(runs['graded'])} | "
            f"{' | '.join(controls)} | {configs[0]['steps']:,} |"
        )
    return "\n".join(lines)


def pictures(poses: list[str], folder: Path, output: Path) -> None:
    """Ten moments of an episode of the chosen agent of each pose, and of all agents, from the runs' contact sheets."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 15)
    best, every = [], []
    for pose in poses:
        run = finished(folder / f"{pose}-clip")
        if run is None:
            continue
        sheet = Image.open(run.path / "videos" / "best.png").convert("RGB")
        rates = run.rates[:4]
        # A row of the sheet is an episode of a seed.
        height = sheet.height / 4
        rows = [
            sheet.crop((0, round(k * height), sheet.width, round((k + 1) * height)))
            for k in range(len(rates))
        ]
        if run.chosen < len(rows):  # the sheet has the first four seeds only
            best.append((f"{pose}\n{rates[run.chosen]:.0%} of the episodes", rows[run.chosen]))
        every += [(f"{pose}\n{rate:.0%}", row) for rate, row in zip(rates, rows, strict=True)]
    output.mkdir(parents=True, exist_ok=True)
    for name, rows, cell in (("humanoid_table1.png", best, 118), ("humanoid_all_agents.png", every, 64)):
        picture = Image.new("RGB", (190 + 10 * cell, len(rows) * cell), "white")
        draw = ImageDraw.Draw(picture)
        for place, (words, row) in enumerate(rows):
            picture.paste(row.resize((10 * cell, cell), Image.Resampling.LANCZOS), (190, place * cell))
            draw.text((6, place * cell + cell // 2 - 20), words, fill="black", font=font)
        picture.quantize(128).save(output / name, optimize=True)
        print(f"picture {output / name}")


def ablation_table(folder: Path) -> str:
    """Markdown: kneeling under other looks and cameras."""
    lines = ["| look and camera | paper | success: chosen (each seed) |", "|---|---|---|"]
    for name, (_, _, paper) in ABLATION.items():
        run = finished(folder / f"kneeling-{name}")
        lines.append(f"| {name.replace('-', ' look, ')} camera | {paper:.2f} | {chosen_and_each(run)} |")
    return "\n".join(lines)


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("poses", nargs="*", help=f"of {', '.join(PAPER)}")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, help="of each seed; the default is the preset's")
    parser.add_argument("--clip", default="tiny", help="checkpoint of the CLIP rows")
    parser.add_argument(
        "--camera", nargs="+", default=[], help="views of the CLIP rows; the default is the tasks'"
    )
    parser.add_argument("--only", nargs="+", choices=[*VARIANTS, "ablation"], help="some of the columns")
    parser.add_argument("--folder", type=Path, default=Path("runs/table1"))
    parser.add_argument("--together", action="store_true", help="all poses in one program, for a GPU")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--pictures", type=Path, help="draw what the agents do into this directory")
    options = parser.parse_args()
    if unknown := set(options.poses) - set(PAPER):
        parser.error(f"unknown pose {', '.join(sorted(unknown))}; choose of {', '.join(PAPER)}")
    poses = options.poses or list(PAPER)
    flags = ["--preset", options.preset, "--seeds", str(options.seeds)]
    flags += ["--steps", str(options.steps)] if options.steps else []
    columns = options.only or [*VARIANTS, "ablation"]
    if "graded" in columns and options.preset.startswith("paper"):
        if options.only:
            parser.error(
                "the graded truth comes with the compact observation, not the paper's; leave it out of --only"
            )
        columns.remove("graded")
    if not options.table:
        claim(
            options.folder,
            {name: getattr(options, name) for name in ("preset", "seeds", "steps", "clip", "camera")},
        )
        if options.together:
            # What comes after in processes of its own needs the GPU's memory as well.
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
            # Rows that differ in numbers only: from CLIPs of one shape, from the predicates, from the graded truth.
            # The untrained CLIP has the embedded one's shape.
            clips = (
                (("clip", "untrained"),)
                if options.clip.split(":")[0] == "tiny"
                else (("clip",), ("untrained",))
            )
            for group in (*clips, ("predicate",), ("graded",)):
                rows = [
                    (
                        f"{pose}-{variant}",
                        f"humanoid-{pose}",
                        [*flags, *of_variant(variant, options.clip, options.camera)],
                    )
                    for variant in group
                    if variant in columns
                    for pose in poses
                ]
                train_together(rows, options.folder)
        for variant in (name for name in VARIANTS if name in columns):
            for pose in poses:
                name = f"{pose}-{variant}"
                extra = of_variant(variant, options.clip, options.camera)
                train(name, f"humanoid-{pose}", [*flags, *extra], options.folder)
                if variant == columns[0]:
                    for which in CONTROLS:
                        control(name, which, options.folder)
        if "ablation" in columns:
            for name, (look, camera, _) in ABLATION.items():
                extra = ["--clip", options.clip, "--look", look, "--camera", camera]
                train(f"kneeling-{name}", "humanoid-kneeling", [*flags, *extra], options.folder)
    print(table(poses, options.folder))
    if options.pictures:
        pictures(poses, options.folder, options.pictures)
    if any((options.folder / f"kneeling-{name}").exists() for name in ABLATION):
        print()
        print(ablation_table(options.folder))


if __name__ == "__main__":
    main()
