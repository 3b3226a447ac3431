"""Glow as Glow-PyTorch saves it, of any size with random values; its mathematics, off the state dict."""

import math

import torch
from torch.nn import functional as F


def glow_state(levels, steps, hidden, additive=False, lu=True, reverse=False, learn_top=True):
    generator = torch.Generator().manual_seed(levels + 10 * steps + 100 * hidden)
    state: dict[str, torch.Tensor] = {}

    def put(name: str, *shape: int, size=0.1):
        state[name] = size * torch.randn(*shape, generator=generator)

    def actnorm(at: str, width: int):
        put(f"{at}actnorm.bias", 1, width, 1, 1)
        put(f"{at}actnorm.logs", 1, width, 1, 1)

    def scaled(at: str, out: int, width: int):
        put(f"{at}conv.weight", out, width, 3, 3)
        put(f"{at}conv.bias", out)
        put(f"{at}logs", out, 1, 1)

    width, side = 3, 32
    for level in range(levels):
        width, side = 4 * width, side // 2
        half = width // 2
        for step in range(steps):
            at = f"flow.layers.{level * (steps + 2) + 1 + step}."
            actnorm(at, width)
            rotation = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
            if lu and not reverse:
                p, lower, upper = torch.linalg.lu(rotation)
                state[f"{at}invconv.p"] = p
                state[f"{at}invconv.lower"] = lower - 0.4 * torch.eye(
                    width
                )  # its diagonal counts for nothing
                state[f"{at}invconv.upper"] = upper.triu(1)
                state[f"{at}invconv.log_s"] = upper.diagonal().abs().log()
                state[f"{at}invconv.sign_s"] = upper.diagonal().sign()
            elif not reverse:
                state[f"{at}invconv.weight"] = rotation
            put(f"{at}block.0.conv.weight", hidden, half, 3, 3)
            actnorm(f"{at}block.0.", hidden)
            put(f"{at}block.2.conv.weight", hidden, hidden, 1, 1)
            actnorm(f"{at}block.2.", hidden)
            scaled(f"{at}block.4.", half if additive else width, hidden)
        if level < levels - 1:
            scaled(f"flow.layers.{level * (steps + 2) + 1 + steps}.conv.", width, half)
            width = half
    state["prior_h"] = torch.zeros(1, 2 * width, side, side)
    if learn_top:
        scaled("learn_top_fn.", 2 * width, 2 * width)
        state["learn_top_fn.conv.weight"].zero_()
    return state


class GlowReference:
    """Plain and slow, from the description of the format; our model is compared with it."""

    def __init__(self, state, levels: int, steps: int):
        self.state = {name: value.double() for name, value in state.items()}
        self.levels, self.steps = levels, steps

    def __call__(self, pixels, u):
        """`log p` in nats of discrete images with dequantisation noise `u`, and all latents."""
        h = (pixels.double() + u) / 256 - 0.5
        total = torch.full((len(h),), -h[0].numel() * math.log(256), dtype=h.dtype)
        latents = []
        for level in range(self.levels):
            h = F.pixel_unshuffle(h, 2)
            for step in range(self.steps):
                h, change = self.step(h, f"flow.layers.{level * (self.steps + 2) + 1 + step}.")
                total = total + change
            if level < self.levels - 1:
                h, dropped = h.chunk(2, 1)
                at = f"flow.layers.{level * (self.steps + 2) + 1 + self.steps}.conv."
                moments = self.scaled(h, at)
                total = total + normal(dropped, moments[:, 0::2], moments[:, 1::2])
                latents.append(dropped)
        moments = torch.zeros(2 * h.shape[1], dtype=h.dtype)
        if "learn_top_fn.conv.bias" in self.state:
            logs = self.state["learn_top_fn.logs"].flatten()
            moments = self.state["learn_top_fn.conv.bias"] * (3 * logs).exp()
        mean, log_scale = moments.view(1, -1, 1, 1).chunk(2, 1)
        return total + normal(h, mean, log_scale), [*latents, h]

    def step(self, x, at: str):
        s, pixels = self.state, x.shape[2] * x.shape[3]
        x = self.actnorm(x, at)
        log_det = pixels * s[f"{at}actnorm.logs"].sum()
        if f"{at}invconv.p" in s:
            eye = torch.eye(x.shape[1], dtype=x.dtype)
            diagonal = torch.diag(s[f"{at}invconv.sign_s"] * s[f"{at}invconv.log_s"].exp())
            lower = s[f"{at}invconv.lower"].tril(-1) + eye
            weight = s[f"{at}invconv.p"] @ lower @ (s[f"{at}invconv.upper"].triu(1) + diagonal)
            log_det = log_det + pixels * s[f"{at}invconv.log_s"].sum()
        elif f"{at}invconv.weight" in s:
            weight = s[f"{at}invconv.weight"]
            log_det = log_det + pixels * torch.linalg.slogdet(weight)[1]
        else:
            weight = torch.eye(x.shape[1], dtype=x.dtype).flip(0)
        first, second = torch.einsum("oc,bchw->bohw", weight, x).chunk(2, 1)
        h = self.actnorm(F.conv2d(first, s[f"{at}block.0.conv.weight"], padding=1), f"{at}block.0.").relu()
        h = self.actnorm(F.conv2d(h, s[f"{at}block.2.conv.weight"]), f"{at}block.2.").relu()
        h = self.scaled(h, f"{at}block.4.")
        if h.shape[1] == second.shape[1]:
            return torch.cat((first, second + h), 1), log_det
        scale = torch.sigmoid(h[:, 1::2] + 2)
        moved = (second + h[:, 0::2]) * scale
        return torch.cat((first, moved), 1), log_det + scale.log().sum((1, 2, 3))

    def actnorm(self, x, at: str):
        return (x + self.state[f"{at}actnorm.bias"]) * self.state[f"{at}actnorm.logs"].exp()

    def scaled(self, x, at: str):
        x = F.conv2d(x, self.state[f"{at}conv.weight"], self.state[f"{at}conv.bias"], padding=1)
        return x * (3 * self.state[f"{at}logs"]).exp()


def normal(x, mean, log_scale):
    return torch.distributions.Normal(mean, log_scale.exp()).log_prob(x).sum((1, 2, 3))
