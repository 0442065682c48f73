"""Linearise rectifiers round by round (TLC, Liao et al. 2025; EASIER, Quetu et al. 2024), training after each.

    python collapse.py runs/classifiers/resnet.onnx --method tlc    --counts 3,3,2 --epochs 4 --data DIR
    python collapse.py runs/classifiers/resnet.onnx --method easier --counts 3,3,2 --epochs 4 --data DIR

Each round `espalier forge collapse` takes the rectifiers that its ranking puts first, fine-tuning heals, and the next
ranking is of what that left. Ends in NAME-METHOD.onnx, folded, beside the model, and its accuracies in NAME-METHOD.json.
Resumes after the last finished round.
"""

import argparse
import json
from pathlib import Path

import torch

from finetune import finetune, judge
from forge_cli import forge


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("--method", choices=("tlc", "easier"), required=True)
    arguments.add_argument("--counts", default="3,3,2", help="rectifiers that go in each round")
    arguments.add_argument("--epochs", type=int, default=4, help="after each round")
    arguments.add_argument("--rate", type=float, default=0.05)
    arguments.add_argument("--data", type=Path, required=True)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    name = f"{options.model.stem}-{options.method}"
    work = options.model.parent / name
    work.mkdir(parents=True, exist_ok=True)
    # EASIER's entropies need pictures; TLC reads BatchNorm.
    calibration = ["--data", options.data, "--calibration", "train_00", "--limit", 500] if options.method == "easier" else []

    at, rounds = options.model, []
    for turn, count in enumerate(map(int, options.counts.split(","))):
        cut, healed = work / f"{turn}-cut.onnx", work / f"{turn}.onnx"
        if not cut.exists() or not cut.with_suffix(".report").exists():
            report = forge("collapse", at, "-o", cut, "--method", options.method, "--count", count, "--no-fold-after", *calibration)
            cut.with_suffix(".report").write_text(json.dumps(report["report"]["collapsed"]))
        before = judge(cut, options.data)
        after = finetune(cut, healed, options.data, epochs=options.epochs, rate=options.rate, teacher=options.model)
        collapsed = json.loads(cut.with_suffix(".report").read_text())
        rounds.append({"collapsed": collapsed, "surgery": before, "healed": {k: after[k] for k in ("valPct", "testPct")}})
        print(json.dumps(rounds[-1]), flush=True)
        at = healed
    out = options.model.parent / f"{name}.onnx"
    forge("fold", at, "-o", out)
    out.with_suffix(".json").write_text(json.dumps({"name": name, "rounds": rounds, **judge(out, options.data)}, indent=2))
    print(out.with_suffix(".json").read_text())


if __name__ == "__main__":
    main()
