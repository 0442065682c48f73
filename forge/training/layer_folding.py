"""Layer Folding (Dror et al. 2021, methods.md 2): each rectifier learns how far it is the identity, then goes.

    python layer_folding.py runs/classifiers/resnet.onnx --weight 0.1 --epochs 8 --heal 4 --data DIR

Slopes that end at 0.9 or more are removed by `espalier forge fold`; the rest becomes LeakyRelu. Fine-tuning heals.
Ends in NAME-layer-folding.onnx beside the model, and its accuracies and slopes in NAME-layer-folding.json.
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
    arguments.add_argument("--weight", type=float, default=0.1, help="of the penalty that draws slopes to 1")
    arguments.add_argument("--epochs", type=int, default=8)
    arguments.add_argument("--rate", type=float, default=0.02)
    arguments.add_argument("--heal", type=int, default=4, help="epochs after folding")
    arguments.add_argument("--data", type=Path, required=True)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    name = f"{options.model.stem}-layer-folding"
    work = options.model.parent / name
    work.mkdir(parents=True, exist_ok=True)
    sloped, folded, healed = work / "sloped.onnx", work / "folded.onnx", work / "healed.onnx"
    slopes = finetune(
        options.model, sloped, options.data, epochs=options.epochs, rate=options.rate, teacher=options.model, slopes=options.weight
    )
    report = forge("fold", sloped, "-o", folded)["report"]
    surgery = judge(folded, options.data)
    finetune(folded, healed, options.data, epochs=options.heal, rate=options.rate, teacher=options.model)
    out = options.model.parent / f"{name}.onnx"
    forge("fold", healed, "-o", out)
    result = {"name": name, "slopes": slopes["slopes"], "removed": report["removed"], "surgery": surgery, **judge(out, options.data)}
    out.with_suffix(".json").write_text(json.dumps(result, indent=2))
    print(out.with_suffix(".json").read_text())


if __name__ == "__main__":
    main()
