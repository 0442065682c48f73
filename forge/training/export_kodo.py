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
from kodo_model import LATENTS, STRIDE, AdaptedConv, Decoder, Encoder, Kodo, LogGain
from kodo_video import next_frames
from train_kodo import load_light, load_variants

OPSET = 17
CARD_ALPHAS = (0, 32, 64, 96, 128, 160, 192, 224, 255)
FLOAT = TensorProto.FLOAT
"""Larger tensors ship as float16."""
HALF_FROM = 128


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

    def __init__(self, name: str, live: bool = False):
        """`live`: adapters run beside the layers, scaled by an input "alpha", instead of being merged before."""
        self.name, self.nodes, self.inputs, self.weights, self.constants = name, [], [], {}, []
        self.macs, self.live = 0.0, live
        if live:
            self.inputs.append(helper.make_tensor_value_info("alpha", FLOAT, [1]))

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
        window = {"kernel_shape": shape[2:], "strides": [conv.stride] * 2, "pads": [conv.padding] * 4}
        if not self.live:
            inputs = [x, self.weight(f"{name}.weight", shape), self.weight(f"{name}.bias", shape[:1])]
            return self.add("Conv", inputs, f"{name}.out", **window)
        cout, rank = shape[0], conv.down.shape[0]
        x = self.add("Conv", [x, self.weight(f"{name}.weight", shape)], f"{name}.base", **window)
        if rank:
            self.macs += 2 * rank * cout / pixels_per_output
            inner = self.add("Conv", [x, self.unsqueezed(f"{name}.weight.down", (rank, cout))], f"{name}.down", kernel_shape=[1, 1])
            inner = self.add("Conv", [inner, self.unsqueezed(f"{name}.weight.up", (cout, rank))], f"{name}.up", kernel_shape=[1, 1])
            x = self.add("Add", [x, self.add("Mul", [inner, "alpha"], f"{name}.update")], f"{name}.adapted")
        moved = self.add("Mul", [self.weight(f"{name}.bias.delta", (cout,)), "alpha"], f"{name}.bias.update")
        bias = self.add("Add", [self.weight(f"{name}.bias", (cout,)), moved], f"{name}.bias.adapted")
        planar = self.add("Reshape", [bias, self.shape(f"{name}.bias.shape", [1, cout, 1, 1])], f"{name}.bias.planar")
        return self.add("Add", [x, planar], f"{name}.out")

    def shape(self, name: str, values: list[int]) -> str:
        self.constants.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def unsqueezed(self, name: str, shape: tuple[int, int]) -> str:
        return self.add("Reshape", [self.weight(name, shape), self.shape(f"{name}.shape", [*shape, 1, 1])], f"{name}.kernel")

    def gain(self, x: str, name: str, output: str) -> str:
        factor = self.weight(name, (1, LATENTS, 1, 1))
        if self.live:
            moved = self.add("Mul", [self.weight(f"{name}.delta", (1, LATENTS, 1, 1)), "alpha"], f"{name}.exponent")
            factor = self.add("Mul", [factor, self.add("Exp", [moved], f"{name}.update")], f"{name}.adapted")
        return self.add("Mul", [x, factor], output)

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


def encoder_graph(prefix: str, e: Encoder, live: bool = False) -> tuple[Graph, bytes]:
    """frame uint8 [1, H, W, 3], H and W multiples of 16 -> latent float32 [1, 192, H/16, W/16], not rounded."""
    g = Graph(f"kodo-{prefix}", live)
    x = g.add("Cast", ["frame"], "frame.float", to=FLOAT)
    x = g.add("Transpose", [x], "frame.planar", perm=[0, 3, 1, 2])
    x = g.add("Mul", [x, g.scalar("one.255th", 1 / 255)], "frame.unit")
    x = g.add("Sub", [x, g.scalar("half", 0.5)], "frame.centred")
    x = g.prelu(g.conv(x, f"{prefix}.conv1", e.conv1, 16), f"{prefix}.act1", e.conv1.weight.shape[0])
    if e.shape.hidden1:
        x = g.block(x, f"{prefix}.block1", e.block1, 16)
        x = g.conv(x, f"{prefix}.conv2", e.conv2, 64)
        x = g.block(x, f"{prefix}.block2", e.block2, 64)
        x = g.block(x, f"{prefix}.block3", e.block3, 64)
    else:
        x = g.prelu(g.conv(x, f"{prefix}.conv2", e.conv2, 64), f"{prefix}.act2", e.conv2.weight.shape[0])
    x = g.conv(x, f"{prefix}.conv3", e.conv3, 256)
    g.gain(x, f"{prefix}.gain", "latent")
    first = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, "H", "W", 3])
    last = helper.make_tensor_value_info("latent", FLOAT, [1, LATENTS, "h", "w"])
    return g, g.finish(first, last)


def decoder_graph(prefix: str, d: Decoder) -> tuple[Graph, bytes]:
    """latent float32 [1, 192, h, w] (whole numbers) -> frame uint8 [1, 16 h, 16 w, 3]."""
    g = Graph(f"kodo-{prefix}")
    x = g.gain("latent", f"{prefix}.gain", "latent.scaled")
    for i, block in enumerate(d.deep):
        x = g.block(x, f"{prefix}.deep.{i}", block, 256)
    x = g.shuffle(g.conv(x, f"{prefix}.conv1", d.conv1, 256), 2)
    for i, block in enumerate(d.middle):
        x = g.block(x, f"{prefix}.middle.{i}", block, 64)
    x = g.shuffle(g.conv(x, f"{prefix}.conv2", d.conv2, 64), 2)
    for i, block in enumerate(d.fine):
        x = g.block(x, f"{prefix}.fine.{i}", block, 16)
    x = g.shuffle(g.conv(x, f"{prefix}.conv3", d.conv3, 16), 4)
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
        half = array.size > HALF_FROM
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
                self.put(f"{path}.bias.delta", child.bias_delta)
                if child.down.shape[0]:
                    self.put(f"{path}.weight.down", child.down)
                    self.put(f"{path}.weight.up", child.up)
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
            change = self.values[update["up"]] @ (self.values[update["down"]] @ value.reshape(len(value), -1))
            return value + np.float32(alpha) * change.reshape(value.shape)
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


def to_symbols(latent: np.ndarray) -> np.ndarray:
    return np.round(latent).astype(np.int64)[0]


def follow(latent: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What an inter frame codes, near enough to shared/codec/inter.ts for the tables: coded, prediction,
    predicted, skipped."""
    q = np.where(np.abs(latent - before) < 0.7, before, np.round(latent)).astype(np.int64)
    change = np.abs(q - before).sum(0)
    predicted = (change <= np.abs(q).sum(0)).astype(np.int64)
    prediction = before * predicted
    return q - prediction, prediction, predicted, change == 0


def graph_entry(blobs: Blobs, graph: Graph, data: bytes, first: str, last: str) -> dict:
    return {**blobs.put(data), "input": first, "output": last, "weights": {w: w for w in graph.weights},
            "macsPerPixel": round(graph.macs, 2)}


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
    arguments.add_argument("--table-crops", type=int, default=120, help="photographs whose symbols the tables count")
    arguments.add_argument("--checkpoint", type=Path, help="export this one's full encoder and decoder alone, to compare with")
    arguments.add_argument("--version", default="0.2.0")
    options = arguments.parse_args()
    torch.set_num_threads(1)

    if options.checkpoint is None:
        variants, light = load_variants(options.run), load_light(options.run)
    else:
        state = torch.load(options.checkpoint, weights_only=False)["model"]
        variants, light = {"full": Kodo.from_state(state).eval()}, None
    model = variants["full"]
    blobs = Blobs(options.out / "blobs")
    for old in blobs.folder.iterdir():
        old.unlink()
    tensors = TensorSet(blobs)
    encoders, entries = {}, []
    for name, own in variants.items():
        tensors.put_module(f"encoder.{name}", own.encoder)
        encoders[name] = encoder_graph(f"encoder.{name}", own.encoder)
    decoders = {"full": decoder_graph("decoder.full", model.decoder)}
    tensors.put_module("decoder.full", model.decoder)
    if light is not None:
        tensors.put_module("decoder.light", light)
        decoders["light"] = decoder_graph("decoder.light", light)
    encode = {name: Session(graph, data, tensors) for name, (graph, data) in encoders.items()}
    decode = {name: Session(graph, data, tensors) for name, (graph, data) in decoders.items()}

    training, held_out = load_photos(options.photos)
    context, tables = IntegerContext(model), Tables()
    crops, random = Crops(training, 384, 77), torch.Generator().manual_seed(77)
    for n in range(options.table_crops):
        alpha255 = CARD_ALPHAS[n % len(CARD_ALPHAS)]
        crop = crops.batch(1)
        q = to_symbols(encode["full"].run("frame", interleaved(crop[0])[None], alpha255))
        tables.count(q, *context.indices(q, alpha255))
        latent = encode["full"].run("frame", interleaved(next_frames(crop, random)[0])[None], alpha255)
        coded, prediction, predicted, skipped = follow(latent[0], q)
        kept = np.broadcast_to(~skipped, coded.shape)
        means, indices = context.indices(coded, alpha255, prediction, predicted)
        tables.count(coded[kept], means[kept], indices[kept])
    frequencies = tables.finish()

    pictures = [interleaved(image)[None] for image in validation_set(held_out)]
    pixels = sum(f.shape[1] * f.shape[2] for f in pictures)
    for name, (graph, data) in encoders.items():
        card = []
        for alpha255 in CARD_ALPHAS:
            bits, quality = 0.0, []
            for frame in pictures:
                q = to_symbols(encode[name].run("frame", frame, alpha255))
                bits += symbol_bits(frequencies, q, *context.indices(q, alpha255))
                quality.append(psnr(frame, decode["full"].run("latent", q[None].astype(np.float32), alpha255)))
            card.append({"alpha255": alpha255, "bitsPerPixel": round(bits / pixels, 5), "psnrDb": round(float(np.mean(quality)), 3)})
            print(name, card[-1], flush=True)
        entries.append({"id": name, "encoder": graph_entry(blobs, graph, data, "frame", "latent"), "card": card})

    candidates = [interleaved(crop)[:64] for crop in Crops(held_out, 96, 5).batch(16)]
    picture = max(candidates, key=lambda p: np.abs(np.diff(p.astype(int), axis=1)).mean())
    cases = []
    for name in encoders:
        for alpha255 in (0, 128, 255) if name == "full" else (128,):
            q = to_symbols(encode[name].run("frame", picture[None], alpha255))
            cases.append({
                "variant": name,
                "alpha255": alpha255,
                "symbols": blobs.put(q.astype("<i2").tobytes()),
                "payload": blobs.put(encode_symbols(frequencies, q, *context.indices(q, alpha255))),
                "decoded": blobs.put(decode["full"].run("latent", q[None].astype(np.float32), alpha255).tobytes()),
            })

    live, live_bytes = encoder_graph("encoder.full", model.encoder, live=True)
    entries[0]["live"] = graph_entry(blobs, live, live_bytes, "frame", "latent")
    manifest = {
        "format": "espalier-family/1",
        "family": "kodo",
        "version": options.version,
        "task": "image-codec",
        "licence": "Apache-2.0",
        "description": "Learned image codec for cameras: light encoders, one heavier decoder, any rate from alpha",
        "tensors": tensors.entries,
        "variants": entries,
        "decoders": {name: graph_entry(blobs, graph, data, "latent", "frame") for name, (graph, data) in decoders.items()},
        "resizeCard": resize_card(held_out),
        "adapters": [{"id": "rate", "updates": tensors.updates}],
        "entropy": blobs.put(json.dumps(entropy_document(context, frequencies), separators=(",", ":")).encode()),
        "latent": {"channels": LATENTS, "stride": STRIDE},
        "golden": {"picture": blobs.put(picture.tobytes()), "width": 96, "height": 64, "cases": cases},
    }
    (options.out / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, separators=(",", ":")))
    total = sum(f.stat().st_size for f in blobs.folder.iterdir())
    print(f"{len(list(blobs.folder.iterdir()))} blobs, {total / 1e6:.2f} MB; MAC/pixel:",
          {f"encoder.{n}": round(g.macs) for n, (g, _) in encoders.items()} | {f"decoder.{n}": round(g.macs) for n, (g, _) in decoders.items()})
    for name in encoders:
        parts = {part for target, update in tensors.updates.items() if target.startswith((f"encoder.{name}.", "decoder.full.")) for key, part in update.items() if key != "kind"}
        print(f"adapter set, encoder {name} and decoder: {sum(tensors.entries[p]['bytes'] for p in parts)} bytes")


if __name__ == "__main__":
    main()
