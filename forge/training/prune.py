"""Structured pruning, then fine-tuning with the original as the teacher.

    python prune.py runs/classifiers/resnet.onnx    --ratio 0.3 --epochs 6 --data DIR
    python prune.py runs/classifiers/mobilenet.onnx --ratio 0.3 --epochs 6 --data DIR

`espalier forge prune` takes the channels. Ends in NAME-prune.onnx, folded, beside the model.
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
    arguments.add_argument("--ratio", type=float, default=0.3)
    arguments.add_argument("--score", default="l2")
    arguments.add_argument("--epochs", type=int, default=6)
    arguments.add_argument("--rate", type=float, default=0.05)
    arguments.add_argument("--data", type=Path, required=True)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    name = f"{options.model.stem}-prune"
    work = options.model.parent / name
    work.mkdir(parents=True, exist_ok=True)
    cut, healed, out = work / "cut.onnx", work / "healed.onnx", options.model.parent / f"{name}.onnx"
    forge("prune", options.model, "-o", cut, "--ratio", options.ratio, "--score", options.score)
    surgery = judge(cut, options.data)
    finetune(cut, healed, options.data, epochs=options.epochs, rate=options.rate, teacher=options.model)
    forge("fold", healed, "-o", out)
    out.with_suffix(".json").write_text(json.dumps({"name": name, "surgery": surgery, **judge(out, options.data)}, indent=2))
    print(out.with_suffix(".json").read_text())


if __name__ == "__main__":
    main()
