"""LaCoOT (Quetu et al., ICCV 2025, methods.md 5): take out the blocks that move their input least, in one shot.

    python lacoot.py runs/classifiers/resnet-lacoot.onnx --tolerance 1 --data DIR   # nothing trained after
    python lacoot.py runs/classifiers/resnet-lacoot.onnx --tolerance 100 --blocks 3 --heal 24 --teacher runs/classifiers/resnet.onnx --data DIR
    python lacoot.py runs/classifiers/resnet.onnx --tolerance 100 --blocks 3 --heal 24 --data DIR   # without the regulariser

`espalier forge skip` ranks and removes, judged on the held-out pictures; nothing is trained after, unless --heal says for
how many epochs. The regulariser is trained by `train_classifier.py --lacoot`. Ends in NAME-skip.onnx beside the model.
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
    arguments.add_argument("--tolerance", type=float, default=1.0, help="points of held-out accuracy that may go")
    arguments.add_argument("--blocks", type=int, help="at most so many")
    arguments.add_argument("--heal", type=int, default=0, help="epochs of fine-tuning after")
    arguments.add_argument("--teacher", type=Path, help="of the fine-tuning; the model itself unless given")
    arguments.add_argument("--rate", type=float, default=0.03)
    arguments.add_argument("--data", type=Path, required=True)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    name = f"{options.model.stem}-skip"
    cut, out = options.model.parent / f"{name}-cut.onnx", options.model.parent / f"{name}.onnx"
    limit = [] if options.blocks is None else ["--blocks", options.blocks]
    report = forge(
        "skip", options.model, "-o", out if options.heal == 0 else cut, "--data", options.data, "--calibration", "train_00",
        "--limit", 500, "--held-out", "val", "--tolerance", options.tolerance, "--tries", 2, *limit,
    )  # fmt: skip
    result = {"name": name, "report": report["report"], "macs": [report["before"]["macs"], report["after"]["macs"]]}
    if options.heal:
        result["surgery"] = judge(cut, options.data)
        finetune(cut, out, options.data, epochs=options.heal, rate=options.rate, teacher=options.teacher or options.model)
    result |= judge(out, options.data)
    out.with_suffix(".summary.json").write_text(json.dumps(result, indent=2))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
