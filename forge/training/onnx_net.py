"""An ONNX graph as a PyTorch module: what the forge has cut can be trained on as it is, and written back.

Knows the operators of classifiers and transformers; others are named in the error. Batch norms train as batch norms.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn

RECTIFIERS = ("Relu", "Clip", "LeakyRelu")


def attributes_of(node: onnx.NodeProto) -> dict:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def padded(x: torch.Tensor, pads: list[int], value: float = 0.0) -> torch.Tensor:
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def conv(x, weight, bias=None, *, strides=(1, 1), dilations=(1, 1), group=1, pads=(0, 0, 0, 0), **_):
    top, left, bottom, right = pads
    if top == bottom and left == right:
        return F.conv2d(x, weight, bias, tuple(strides), (top, left), tuple(dilations), group)
    return F.conv2d(padded(x, pads), weight, bias, tuple(strides), 0, tuple(dilations), group)


def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0, **_):
    y = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return y if c is None else y + beta * c


def clip(x, low=None, high=None, **attributes):
    low = attributes.get("min", low)
    high = attributes.get("max", high)
    return torch.clamp(x, None if low is None else float(low), None if high is None else float(high))


def reshape(x, shape, **_):
    # A batch of one was exported; here it is as large as it comes.
    wanted = [x.shape[i] if s == 0 else s for i, s in enumerate(shape.tolist())]
    wanted[0] = x.shape[0] if wanted[0] == 1 else wanted[0]
    return x.reshape(wanted)


def reduce_mean(x, axes=None, *, keepdims=1, **_):
    # An attribute until opset 17, an input from 18 on.
    return x.mean(tuple(axes.tolist() if torch.is_tensor(axes) else axes), keepdim=bool(keepdims))


OPERATORS = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": lambda a, b: a @ b,
    "Relu": F.relu,
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "Clip": clip,
    "Gelu": lambda x, approximate=b"none": F.gelu(x, approximate=approximate.decode()),
    "Erf": torch.erf,
    "Sqrt": torch.sqrt,
    "Pow": torch.pow,
    "Sigmoid": torch.sigmoid,
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: torch.clamp(alpha * x + beta, 0, 1),
    "HardSwish": F.hardswish,
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Identity": lambda x: x,
    "Softmax": lambda x, axis=-1: F.softmax(x, axis),
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "Flatten": lambda x, axis=1: x.flatten(axis),
    "Reshape": reshape,
    "Transpose": lambda x, perm: x.permute(*perm),
    "ReduceMean": reduce_mean,
    "LayerNormalization": lambda x, w, b=None, axis=-1, epsilon=1e-5, stash_type=1: F.layer_norm(x, x.shape[axis:], w, b, epsilon),
    "Gather": lambda x, i, axis=0: x.index_select(axis, i.reshape(-1)).squeeze(axis) if i.dim() == 0 else x.index_select(axis, i),
    "Expand": lambda x, shape: x.expand(*torch.broadcast_shapes(x.shape, shape.tolist())),
}


class OnnxNet(nn.Module):
    """Weights are the graph's initializers: those of floats with more than one value train."""

    def __init__(self, path: Path):
        super().__init__()
        self.proto = onnx.load(path)
        graph = self.proto.graph
        statistics = {name for node in graph.node if node.op_type == "BatchNormalization" for name in node.input[3:5]}
        self.keys: dict[str, str] = {}
        tensors = [(t.name, t) for t in graph.initializer]
        tensors += [(n.output[0], attributes_of(n)["value"]) for n in graph.node if n.op_type == "Constant"]
        for index, (name, tensor) in enumerate(tensors):
            value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            key = f"t{index}"
            if value.is_floating_point() and value.numel() > 1 and name not in statistics:
                self.register_parameter(key, nn.Parameter(value))
            else:
                self.register_buffer(key, value)
            self.keys[name] = key
        for node in graph.node:
            if node.op_type not in (*OPERATORS, "BatchNormalization", "Concat", "Constant"):
                raise SystemExit(f'Cannot train "{path}": node "{node.name}" is a {node.op_type}, which onnx_net.py does not know')
        self.input = next(i.name for i in graph.input if i.name not in self.keys)
        # Layer Folding (Dror et al. 2021): how far each rectifier is the identity; none unless asked for.
        self.slopes = nn.ParameterDict()

    def add_slopes(self) -> None:
        for node in self.proto.graph.node:
            if node.op_type in RECTIFIERS:
                self.slopes[node.output[0].replace(".", "_")] = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {self.input: x}

        def of(name: str):
            return values[name] if name in values else getattr(self, self.keys[name]) if name else None

        for node in self.proto.graph.node:
            if node.op_type == "Constant":
                continue
            inputs, attributes = [of(name) for name in node.input], attributes_of(node)
            if node.op_type == "BatchNormalization":
                x, weight, bias, mean, var = inputs
                out = F.batch_norm(x, mean, var, weight, bias, self.training, 0.1, attributes.get("epsilon", 1e-5))
            elif node.op_type == "Concat":
                n = max(i.shape[0] for i in inputs)
                out = torch.cat([i.expand(n, *i.shape[1:]) for i in inputs], attributes["axis"])
            else:
                out = OPERATORS[node.op_type](*inputs, **attributes)
            slope = self.slopes[key] if (key := node.output[0].replace(".", "_")) in self.slopes else None
            values[node.output[0]] = out if slope is None else slope * inputs[0] + (1 - slope) * out
        return values[self.proto.graph.output[0].name]

    def save(self, path: Path) -> None:
        """The same graph with the weights as they are now; slopes become LeakyRelu, 1 its identity."""
        out = onnx.ModelProto()
        out.CopyFrom(self.proto)
        for tensor in out.graph.initializer:
            if tensor.name in self.keys:
                value = getattr(self, self.keys[tensor.name]).detach().numpy()
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
        for node in out.graph.node:
            if node.op_type == "Constant":
                value = getattr(self, self.keys[node.output[0]]).detach().numpy()
                node.attribute[0].t.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), node.attribute[0].t.name))
            key = node.output[0].replace(".", "_")
            if key in self.slopes and (slope := self.slopes[key].item()) != 0:
                if node.op_type != "Relu":
                    raise SystemExit(f'Cannot save the slope of "{node.name}": a {node.op_type} has no slope in ONNX')
                node.op_type = "LeakyRelu"
                node.attribute.append(onnx.helper.make_attribute("alpha", slope))
        onnx.checker.check_model(out)
        onnx.save(out, path)
