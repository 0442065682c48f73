"""Read a family that ships back into a checkpoint, for the stages that start from one.

    python import_kodo.py --family ../../models/kodo --out runs/shipped/context.pt
    python import_kodo.py --family ../../models/kodo --out runs/compared/step.pt --step

The full encoder, the full decoder and the contexts come back, as the float16 and fixed-point numbers that ship.
With --step nothing but one step size for all latents follows alpha: the mean of the shipped gains.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from kodo_model import AdaptedConv, Kodo, LogGain

"""Fixed-point fractions of the context model's tensors, as kodo_entropy.IntegerContext rounds them."""
CONTEXT = {
    "meanBias": ("mean_bias", 16), "meanTaps": ("mean_taps", 16), "scaleBias": ("scale_bias", 16), "scaleTaps": ("scale_taps", 10),
    "beside": ("beside", 10), "referenceMean": ("reference_mean", 16), "referenceScale": ("reference_scale", 10),
    "referenceBias": ("reference_bias", 16), "maps": ("maps", 10), "spreads": ("spreads", 10), "hidden": ("hidden", 10),
    "hiddenBias": ("hidden_bias", 16), "reads": ("reads", 10),
}  # fmt: skip


def import_kodo(folder: Path) -> Kodo:
    manifest = json.loads((folder / "manifest.json").read_text())

    def tensor(name: str, like: torch.Tensor) -> torch.nn.Parameter:
        entry = manifest["tensors"][name]
        values = np.frombuffer((folder / "blobs" / entry["sha256"]).read_bytes(), entry["dtype"]).astype(np.float32)
        return torch.nn.Parameter(torch.from_numpy(values).view(like.shape))

    model = Kodo()
    model.add_adapters(1)
    for prefix, root in (("encoder.full", model.encoder), ("decoder.full", model.decoder)):
        for name, module in root.named_modules():
            path = f"{prefix}.{name}"
            if isinstance(module, AdaptedConv):
                rank = manifest["tensors"].get(f"{path}.weight.down", {"shape": [0]})["shape"][0]
                module.add_adapter(rank)
                module.weight, module.bias = tensor(f"{path}.weight", module.weight), tensor(f"{path}.bias", module.bias)
                module.bias_delta = tensor(f"{path}.bias.delta", module.bias_delta)
                if rank:
                    module.down, module.up = tensor(f"{path}.weight.down", module.down), tensor(f"{path}.weight.up", module.up)
            elif isinstance(module, torch.nn.PReLU):
                module.weight = tensor(f"{path}.weight", module.weight)
            elif isinstance(module, LogGain):
                module.gain.data = tensor(f"{prefix}.gain", module.gain).data.log()
                module.delta = tensor(f"{prefix}.gain.delta", module.delta)
    document = json.loads((folder / "blobs" / manifest["entropy"]["sha256"]).read_text())
    for key, (name, bits) in CONTEXT.items():
        parts = getattr(model.context, name)
        for part, both in zip(parts if isinstance(parts, torch.nn.ModuleList) else [parts], document[key] if isinstance(document[key], list) else [document[key]], strict=True):
            for field in ("base", "delta"):
                values = torch.tensor(both[field], dtype=torch.float64) / 2**bits
                getattr(part, field).data = values.float().view(part.base.shape)
    return model


@torch.no_grad()
def leave_one_step(model: Kodo) -> None:
    """Alpha multiplies all latents by one factor, and divides them by it again; nothing else follows alpha."""
    mean = (model.encoder.gain.delta.mean() - model.decoder.gain.delta.mean()) / 2
    for name, parameter in model.named_parameters():
        if name.endswith((".up", ".down", ".bias_delta", ".delta")):
            parameter.zero_()
    model.encoder.gain.delta.fill_(mean)
    model.decoder.gain.delta.fill_(-mean)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--family", type=Path, default=Path("../../models/kodo"))
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--step", action="store_true")
    options = arguments.parse_args()
    model = import_kodo(options.family)
    if options.step:
        leave_one_step(model)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict()}, options.out)


if __name__ == "__main__":
    main()
