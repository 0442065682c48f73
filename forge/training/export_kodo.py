"""Export the trained family: ONNX graphs whose weights are inputs, content-addressed tensors, integer
entropy tables, cards and golden streams.

    python export_kodo.py --run runs/kodo --photos DIR --out ../../models/kodo
"""

import argparse
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from PIL import Image

from kodo_data import Crops, load_photos, validation_set
from kodo_entropy import IntegerContext, Tables, encode_symbols, entropy_document, symbol_bits
from kodo_model import LATENTS, STRIDE, AdaptedConv, Kodo, LogGain
from train_kodo import ADAPTER_RANK

OPSET = 17
CARD_ALPHAS = (0, 32, 64, 96, 128, 160, 192, 224, 255)
FLOAT = TensorProto.FLOAT


class Blobs:
    """Files named by the SHA-256 of their content."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> dict:
        name = hashlib.sha256(data).hexdigest()
        (self.folder / name).write_bytes(data)
        return {"sha256": name, "bytes": len(data)}


class Graph:
    """One ONNX graph in the making; every weight becomes an input of the same name."""

    def __init__(self, name: str):
        self.name, self.nodes, self.inputs, self.weights, self.constants = name, [], [], {}, []
        self.macs = 0.0

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, FLOAT, shape))
        self.weights[name] = shape
        return name

    def scalar(self, name: str, value: float) -> str:
        self.constants.append(helper.make_tensor(name, FLOAT, [], [value]))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x: str, name: str, conv: AdaptedConv, pixels_per_output: float) -> str:
        shape = tuple(conv.weight.shape)
        self.macs += math.prod(shape) / pixels_per_output
        inputs = [x, self.weight(f"{name}.weight", shape), self.weight(f"{name}.bias", shape[:1])]
        return self.add("Conv", inputs, f"{name}.out", kernel_shape=shape[2:], strides=[conv.stride] * 2, pads=[conv.padding] * 4)

    def prelu(self, x: str, name: str, channels: int) -> str:
        return self.add("PRelu", [x, self.weight(f"{name}.weight", (channels, 1, 1))], f"{name}.out")

    def block(self, x: str, name: str, block, pixels_per_output: float) -> str:
        inner = self.conv(x, f"{name}.conv1", block.conv1, pixels_per_output)
        inner = self.prelu(inner, f"{name}.act", block.conv1.weight.shape[0])
        inner = self.conv(inner, f"{name}.conv2", block.conv2, pixels_per_output)
        return self.add("Add", [x, inner], f"{name}.out")

    def shuffle(self, x: str, size: int) -> str:
        return self.add("DepthToSpace", [x], f"{x}.shuffled", blocksize=size, mode="CRD")

    def finish(self, first, last) -> bytes:
        graph = helper.make_graph(self.nodes, self.name, [first, *self.inputs], [last], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="espalier", ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


def encoder_graph(model: Kodo) -> tuple[Graph, bytes]:
    """frame uint8 [1, H, W, 3], H and W multiples of 16 -> latent float32 [1, 192, H/16, W/16], not rounded."""
    g, e = Graph("kodo-encoder"), model.encoder
    x = g.add("Cast", ["frame"], "frame.float", to=FLOAT)
    x = g.add("Transpose", [x], "frame.planar", perm=[0, 3, 1, 2])
    x = g.add("Mul", [x, g.scalar("one.255th", 1 / 255)], "frame.unit")
    x = g.add("Sub", [x, g.scalar("half", 0.5)], "frame.centred")
    x = g.prelu(g.conv(x, "encoder.conv1", e.conv1, 16), "encoder.act1", e.conv1.weight.shape[0])
    x = g.block(x, "encoder.block1", e.block1, 16)
    x = g.conv(x, "encoder.conv2", e.conv2, 64)
    x = g.block(x, "encoder.block2", e.block2, 64)
    x = g.block(x, "encoder.block3", e.block3, 64)
    x = g.conv(x, "encoder.conv3", e.conv3, 256)
    g.add("Mul", [x, g.weight("encoder.gain", (1, LATENTS, 1, 1))], "latent")
    first = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, "H", "W", 3])
    last = helper.make_tensor_value_info("latent", FLOAT, [1, LATENTS, "h", "w"])
    return g, g.finish(first, last)


def decoder_graph(model: Kodo) -> tuple[Graph, bytes]:
    """latent float32 [1, 192, h, w] (whole numbers) -> frame uint8 [1, 16 h, 16 w, 3]."""
    g, d = Graph("kodo-decoder"), model.decoder
    x = g.add("Mul", ["latent", g.weight("decoder.gain", (1, LATENTS, 1, 1))], "latent.scaled")
    x = g.shuffle(g.conv(x, "decoder.conv1", d.conv1, 256), 2)
    x = g.block(x, "decoder.block1", d.block1, 64)
    x = g.block(x, "decoder.block2", d.block2, 64)
    x = g.shuffle(g.conv(x, "decoder.conv2", d.conv2, 64), 2)
    x = g.block(x, "decoder.block3", d.block3, 16)
    x = g.shuffle(g.conv(x, "decoder.conv3", d.conv3, 16), 4)
    x = g.add("Add", [x, g.scalar("half", 0.5)], "frame.unit")
    x = g.add("Clip", [x, g.scalar("zero", 0.0), g.scalar("one", 1.0)], "frame.clipped")
    x = g.add("Mul", [x, g.scalar("levels", 255.0)], "frame.levels")
    x = g.add("Round", [x], "frame.rounded")
    x = g.add("Transpose", [x], "frame.interleaved", perm=[0, 2, 3, 1])
    g.add("Cast", [x], "frame", to=TensorProto.UINT8)
    first = helper.make_tensor_value_info("latent", FLOAT, [1, LATENTS, "h", "w"])
    last = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, "H", "W", 3])
    return g, g.finish(first, last)


class TensorSet:
    """Named tensors of the family. Convolution weights ship as float16 and are rounded in the model too,
    so that cards and goldens are measured on what ships."""

    def __init__(self, blobs: Blobs):
        self.blobs, self.entries, self.updates, self.values = blobs, {}, {}, {}

    def put(self, name: str, value: torch.Tensor, shape=None) -> None:
        array = value.detach().contiguous().numpy().reshape(shape or tuple(value.shape)).astype(np.float32)
        half = array.size > 1024
        stored = array.astype(np.float16 if half else np.float32)
        self.values[name] = stored.astype(np.float32)
        entry = self.blobs.put(np.ascontiguousarray(stored).tobytes())
        self.entries[name] = {**entry, "dtype": "float16" if half else "float32", "shape": list(stored.shape)}

    def put_module(self, prefix: str, module: torch.nn.Module) -> None:
        for name, child in module.named_modules():
            path = f"{prefix}.{name}"
            if isinstance(child, AdaptedConv):
                self.put(f"{path}.weight", child.weight)
                self.put(f"{path}.bias", child.bias)
                self.put(f"{path}.weight.down", child.down)
                self.put(f"{path}.weight.up", child.up)
                self.put(f"{path}.bias.delta", child.bias_delta)
                self.updates[f"{path}.weight"] = {"kind": "lowRank", "down": f"{path}.weight.down", "up": f"{path}.weight.up"}
                self.updates[f"{path}.bias"] = {"kind": "linear", "delta": f"{path}.bias.delta"}
            elif isinstance(child, torch.nn.PReLU):
                self.put(f"{path}.weight", child.weight, (child.weight.numel(), 1, 1))
            elif isinstance(child, LogGain):
                self.put(f"{prefix}.gain", child.gain.detach().exp(), (1, LATENTS, 1, 1))
                self.put(f"{prefix}.gain.delta", child.delta, (1, LATENTS, 1, 1))
                self.updates[f"{prefix}.gain"] = {"kind": "logGain", "delta": f"{prefix}.gain.delta"}

    def merged(self, name: str, alpha: float) -> np.ndarray:
        value, update = self.values[name], self.updates.get(name)
        if update is None or alpha == 0:
            return value
        if update["kind"] == "lowRank":
            return value + np.float32(alpha) * (self.values[update["up"]] @ self.values[update["down"]]).reshape(value.shape)
        delta = self.values[update["delta"]]
        return value * np.exp(np.float32(alpha) * delta) if update["kind"] == "logGain" else value + np.float32(alpha) * delta


class Session:
    """A graph with the family's weights fed at some alpha."""

    def __init__(self, graph: Graph, data: bytes, tensors: TensorSet):
        self.graph, self.tensors = graph, tensors
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(self, name: str, value: np.ndarray, alpha255: int) -> np.ndarray:
        feeds = {w: self.tensors.merged(w, alpha255 / 255) for w in self.graph.weights}
        return self.session.run(None, {name: value, **feeds})[0]


def interleaved(image: torch.Tensor) -> np.ndarray:
    return (image.permute(1, 2, 0) * 255).round().byte().numpy()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return -10 * math.log10(np.square((a.astype(np.float64) - b) / 255).mean())


def to_symbols(latent: np.ndarray, dead_zone: float) -> np.ndarray:
    """Round, but let magnitudes fall by dead_zone more often: rate for little distortion."""
    return (np.sign(latent) * np.floor(np.abs(latent) + 0.5 - dead_zone)).astype(np.int64)[0]


def resize_card(photos: list[torch.Tensor]) -> list[dict]:
    out = []
    for scale in (0.5,):
        values = []
        for photo in photos:
            image = Image.fromarray(photo[: photo.shape[0] // 16 * 16, : photo.shape[1] // 16 * 16].numpy())
            small = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.LANCZOS)
            values.append(psnr(np.asarray(image), np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))))
        out.append({"scale": scale, "psnrDb": round(float(np.mean(values)), 2)})
    return out


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--run", type=Path, default=Path("runs/kodo"))
    arguments.add_argument("--photos", type=Path, required=True)
    arguments.add_argument("--out", type=Path, default=Path("../../models/kodo"))
    arguments.add_argument("--dead-zone", type=float, default=0.0)
    arguments.add_argument("--version", default="0.1.0")
    options = arguments.parse_args()
    torch.set_num_threads(1)

    model = Kodo()
    model.add_adapters(ADAPTER_RANK)
    model.load_state_dict(torch.load(options.run / "adapter.pt", weights_only=False)["model"])
    blobs = Blobs(options.out / "blobs")
    for old in blobs.folder.iterdir():
        old.unlink()
    tensors = TensorSet(blobs)
    tensors.put_module("encoder", model.encoder)
    tensors.put_module("decoder", model.decoder)
    (encoder, encoder_bytes), (decoder, decoder_bytes) = encoder_graph(model), decoder_graph(model)
    encode, decode = Session(encoder, encoder_bytes, tensors), Session(decoder, decoder_bytes, tensors)

    training, held_out = load_photos(options.photos)
    context, tables = IntegerContext(model), Tables()
    crops = Crops(training, 384, 77)
    for n in range(120):
        alpha255 = CARD_ALPHAS[n % len(CARD_ALPHAS)]
        frame = interleaved(crops.batch(1)[0])[None]
        q = to_symbols(encode.run("frame", frame, alpha255), options.dead_zone)
        tables.count(q, *context.indices(q, alpha255))
    frequencies = tables.finish()

    card = []
    pictures = [interleaved(image)[None] for image in validation_set(held_out)]
    for alpha255 in CARD_ALPHAS:
        bits, quality = 0.0, []
        for frame in pictures:
            q = to_symbols(encode.run("frame", frame, alpha255), options.dead_zone)
            bits += symbol_bits(frequencies, q, *context.indices(q, alpha255))
            quality.append(psnr(frame, decode.run("latent", q[None].astype(np.float32), alpha255)))
        pixels = sum(f.shape[1] * f.shape[2] for f in pictures)
        card.append({"alpha255": alpha255, "bitsPerPixel": round(bits / pixels, 5), "psnrDb": round(float(np.mean(quality)), 3)})
        print(card[-1], flush=True)

    candidates = [interleaved(crop)[:64] for crop in Crops(held_out, 96, 5).batch(16)]
    picture = max(candidates, key=lambda p: np.abs(np.diff(p.astype(int), axis=1)).mean())
    cases = []
    for alpha255 in (0, 128, 255):
        q = to_symbols(encode.run("frame", picture[None], alpha255), options.dead_zone)
        cases.append({
            "variant": "base",
            "alpha255": alpha255,
            "symbols": blobs.put(q.astype("<i2").tobytes()),
            "payload": blobs.put(encode_symbols(frequencies, q, *context.indices(q, alpha255))),
            "decoded": blobs.put(decode.run("latent", q[None].astype(np.float32), alpha255).tobytes()),
        })

    def graph_entry(graph: Graph, data: bytes, first: str, last: str) -> dict:
        return {**blobs.put(data), "input": first, "output": last, "weights": {w: w for w in graph.weights},
                "macsPerPixel": round(graph.macs, 2)}

    manifest = {
        "format": "espalier-family/1",
        "family": "kodo",
        "version": options.version,
        "task": "image-codec",
        "licence": "Apache-2.0",
        "description": "Light-encoder learned image codec; one anchor and one adapter set, any rate from alpha",
        "tensors": tensors.entries,
        "variants": [{"id": "base", "encoder": graph_entry(encoder, encoder_bytes, "frame", "latent"), "card": card}],
        "decoder": graph_entry(decoder, decoder_bytes, "latent", "frame"),
        "resizeCard": resize_card(held_out),
        "adapters": [{"id": "rate", "updates": tensors.updates}],
        "entropy": blobs.put(json.dumps(entropy_document(context, frequencies), separators=(",", ":")).encode()),
        "latent": {"channels": LATENTS, "stride": STRIDE, "deadZone": options.dead_zone},
        "golden": {"picture": blobs.put(picture.tobytes()), "width": 96, "height": 64, "cases": cases},
    }
    (options.out / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, separators=(",", ":")))
    total = sum(f.stat().st_size for f in blobs.folder.iterdir())
    print(f"{len(list(blobs.folder.iterdir()))} blobs, {total / 1e6:.2f} MB; encoder {encoder.macs:.0f}, decoder {decoder.macs:.0f} MAC/pixel")


if __name__ == "__main__":
    main()
