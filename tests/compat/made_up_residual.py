"""Residual Flow as residual-flows saves it, of any size with random values; its mathematics, off the file."""

import argparse
import contextlib
import math
import sys
import types

import torch
from torch.nn import functional as F

ARGS = {
    "vnorms": "2222", "learn_p": False, "act": "swish", "actnorm": True, "batchnorm": False, "dropout": 0.0,
    "fc": False, "kernels": "3-1-3", "quadratic": False, "preact": True, "first_resblock": True,
    "factor_out": False, "squeeze_first": False, "padding": 0, "nbits": 8, "block": "resblock", "coeff": 0.98,
    "fc_actnorm": False, "task": "density", "fc_end": True, "imagesize": 32,
}  # fmt: skip
CHANNELS = {"mnist": 1, "cifar10": 3, "imagenet32": 3}


class ExponentialMovingAverage:
    """Is pickled by the name that its class has in their code."""


@contextlib.contextmanager
def their_names():
    """Let the class above be found by pickle as theirs."""
    module = types.ModuleType("lib.utils")
    module.ExponentialMovingAverage = ExponentialMovingAverage
    ExponentialMovingAverage.__module__ = "lib.utils"
    sys.modules["lib.utils"], sys.modules["lib"] = module, types.ModuleType("lib")
    try:
        yield
    finally:
        ExponentialMovingAverage.__module__ = __name__
        del sys.modules["lib.utils"], sys.modules["lib"]


def residual_content(data, nblocks, idim, fc_idim, side=32, fc_end=True, **more):
    """What `torch.save` of their code is given, here with tensors for the averaged model alone."""
    generator = torch.Generator().manual_seed(idim)
    parameters: dict[str, torch.Tensor] = {}
    buffers: dict[str, torch.Tensor] = {}

    def draw(*shape: int, size=0.3):
        return size * torch.randn(*shape, generator=generator)

    def norm(at: str, width: int):
        parameters[f"{at}weight"], parameters[f"{at}bias"] = draw(width), draw(width)
        buffers[f"{at}initialized"] = torch.tensor(1)

    def block(at: str, sizes, kernels, side: int, activated: bool):
        """Layers, each behind an activation, but for the first one of all."""
        for k, kernel in enumerate(kernels):
            place = 2 * k + activated
            into, out = sizes[k], sizes[k + 1]
            if place:
                parameters[f"{at}nnet.{place - 1}.beta"] = draw(1) + 0.5
            weight = draw(out, into, max(kernel, 1), max(kernel, 1))
            conv = f"{at}nnet.{place}."
            parameters[f"{conv}weight"] = weight if kernel else weight[:, :, 0, 0].clone()
            parameters[f"{conv}bias"] = draw(out)
            sides = (side, side) if kernel > 1 else (1, 1)
            v = unit(draw(1, into, *sides))
            u = F.conv2d(v, weight, padding=weight.shape[2] // 2)
            u = unit(u + 0.01 * draw(*u.shape))  # not converged
            buffers.update({f"{conv}u": u.flatten(), f"{conv}v": v.flatten(), f"{conv}scale": draw(1)})

    numbers = scales(nblocks, side)
    width = CHANNELS[data]
    size = side
    norm("transforms.0.chain.1.", width)
    for scale, number in enumerate(numbers):
        place = 0 if scale else 2
        for _ in range(number):
            first = bool(scale or place > 2)
            block(f"transforms.{scale}.chain.{place}.", (width, idim, idim, width), (3, 1, 3), size, first)
            norm(f"transforms.{scale}.chain.{place + 1}.", width)
            place += 2
        if scale < len(numbers) - 1:
            width, size = 4 * width, size // 2
    total = width * size**2
    for _ in range(4 if fc_end else 0):
        block(f"transforms.{scale}.chain.{place}.nnet.", (total, fc_idim, fc_idim, total), (0, 0, 0), 1, True)
        norm(f"transforms.{scale}.chain.{place + 1}.fc_module.", total)
        place += 2
    average = ExponentialMovingAverage()
    average.decay, average.shadow_params = 0.999, parameters
    args = {**ARGS, "data": data, "nblocks": nblocks, "idim": idim, "fc_idim": fc_idim}
    args |= {"imagesize": side, "fc_end": fc_end, **more}
    raw = {name: value + 1 for name, value in parameters.items()}
    content = {"state_dict": {**raw, **buffers}, "args": argparse.Namespace(**args), "ema": average}
    return {**content, "test_bpd": 3.5}


def scales(nblocks, side):
    """Blocks of each scale; there are not more scales than leave a side of 4."""
    return [int(n) for k, n in enumerate(nblocks.split("-")) if side >> k >= 4]


def unit(x):
    return x / x.norm()


class ResidualReference:
    """Plain and slow, from the description of the format; our model is compared with it."""

    def __init__(self, content):
        parameters = content["ema"].shadow_params
        state = {**content["state_dict"], **parameters}
        self.state = {name: value.double() for name, value in state.items() if value.is_floating_point()}
        self.args = content["args"]

    def __call__(self, pixels, u):
        """`log p` in nats of discrete images with dequantisation noise `u`, and the latent."""
        margin = 1e-6 if self.args.data == "mnist" else 0.05
        x = (pixels.double() + u) / 256
        dims = x[0].numel()
        squeezed = margin + (1 - 2 * margin) * x
        total = (math.log(1 - 2 * margin) - squeezed.log() - (1 - squeezed).log()).sum((1, 2, 3))
        x, change = self.norm(squeezed.logit(), "transforms.0.chain.1.")
        total = total + change
        numbers = scales(self.args.nblocks, self.args.imagesize)
        for scale, number in enumerate(numbers):
            place = 0 if scale else 2
            for _ in range(number):
                x, total = self.layers(x, total, f"transforms.{scale}.chain.", place)
                place += 2
            if scale < len(numbers) - 1:
                x = F.pixel_unshuffle(x, 2)
        for _ in range(4 if self.args.fc_end else 0):
            x, total = self.layers(x.flatten(1), total, f"transforms.{scale}.chain.", place)
            place += 2
        z = x.flatten(1)
        prior = -0.5 * (z**2).sum(1) - dims / 2 * math.log(2 * math.pi)
        return total + prior - dims * math.log(256), z

    def layers(self, x, total, chain: str, place: int):
        """A residual block and the ActNorm behind it."""
        flat = x.ndim == 2
        at = f"{chain}{place}.nnet." if flat else f"{chain}{place}."
        jacobians = [
            torch.autograd.functional.jacobian(lambda h: self.net(h, at), x[i : i + 1]) for i in range(len(x))
        ]
        eye = torch.eye(x[0].numel(), dtype=x.dtype)
        changes = [torch.linalg.slogdet(eye + jacobian.reshape(eye.shape))[1] for jacobian in jacobians]
        x = x + self.net(x, at)
        x, change = self.norm(x, f"{chain}{place + 1}." + ("fc_module." if flat else ""))
        return x, total + torch.stack(changes) + change

    def norm(self, x, at: str):
        shape = (1, -1) + (1,) * (x.ndim - 2)
        weight, bias = self.state[f"{at}weight"], self.state[f"{at}bias"]
        pixels = x[0].numel() // len(weight)
        return (x + bias.view(shape)) * weight.view(shape).exp(), pixels * weight.sum()

    def net(self, x, at: str):
        places = {
            int(name.removeprefix(f"{at}nnet.").split(".")[0])
            for name in self.state
            if name.startswith(f"{at}nnet.")
        }
        for place in sorted(places):
            inner = f"{at}nnet.{place}."
            if f"{inner}beta" in self.state:
                x = x * torch.sigmoid(F.softplus(self.state[f"{inner}beta"]) * x) / 1.1
                continue
            weight, u, v = (self.state[inner + letter] for letter in ("weight", "u", "v"))
            if weight.ndim == 2:
                sigma = u @ weight @ v
            elif weight.shape[2] == 1:
                sigma = u @ weight[:, :, 0, 0] @ v
            else:
                side = math.isqrt(len(v) // weight.shape[1])
                sigma = u @ F.conv2d(v.view(1, -1, side, side), weight, padding=1).flatten()
            weight = weight / torch.clamp(sigma / self.args.coeff, min=1)
            bias = self.state[f"{inner}bias"]
            x = (
                F.linear(x, weight, bias)
                if weight.ndim == 2
                else F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
            )
        return x
