"""The mathematics of the authors' checkpoints, step by step and straight from the state dict.

Slow and plain on purpose: one convolution per step, no folding, bisection. What `marscf` does faster is
compared with this; and this, with what the authors' own code computed (the parity files).
"""

import math

import torch
from torch.nn import functional as F

HEADS = 4


class Reference:
    """Likelihood and sampling of a state dict in the authors' naming."""

    def __init__(self, state, coupling: str, steps: int):
        self.state = {name: value.double() for name, value in state.items()}
        self.coupling, self.steps = coupling, steps
        self.levels = 1 + max(int(name.split(".")[3]) for name in state if "prior_list" in name)

    def log_density(self, y):
        """`log p(y)` in nats of continuous images, and the last level's latent."""
        total = torch.zeros(len(y), dtype=y.dtype)
        for level in range(self.levels):
            y = squeeze(y)
            for step in range(self.steps):
                y, change = self.flow_step(y, f"flow.layers.{level * (self.steps + 2) + 1 + step}.")
                total = total + change
            if level < self.levels - 1:
                y, dropped = y.chunk(2, 1)
                total = total + self.prior(level, dropped, y)[0]
            else:
                total = total + self.prior(level, y, None)[0]
        return total, y

    def flow_step(self, x, at: str):
        s = self.state
        pixels = x.shape[2] * x.shape[3]
        log_scale = s[at + "actnormlayer.logs"]
        x = (x + s[at + "actnormlayer.bias"]) * log_scale.exp()
        inner = at + "invert_1x1_layer."
        eye = torch.eye(x.shape[1], dtype=x.dtype)
        diagonal = torch.diag(s[inner + "sign_s"] * s[inner + "log_s"].exp())
        weight = s[inner + "p"] @ (s[inner + "l"].tril(-1) + eye) @ (s[inner + "u"].triu(1) + diagonal)
        x = torch.einsum("oc,bchw->bohw", weight, x)
        log_det = pixels * (log_scale.sum() + s[inner + "log_s"].sum())
        first, second = x.chunk(2, 1)
        if self.coupling == "affine":
            raw = self.affine_net(first, at + "coupling.NN_net.")
            scale = torch.sigmoid(raw[:, 1::2] + 2)
            moved = torch.cat((first, second * scale + raw[:, 0::2]), 1)
            return moved, log_det + scale.log().sum((1, 2, 3))
        a, b, mixture = self.mixture(second, at + "coupling.nn.")
        odds, slope = mixture_odds(first, *mixture)
        return torch.cat((second, (odds + b) * a.exp()), 1), log_det + (slope + a).sum((1, 2, 3))

    def affine_net(self, x, at: str):
        s = self.state
        for name, padding in (("conv1", 1), ("conv2", 0)):
            x = F.conv2d(x, s[f"{at}{name}.weight"], padding=padding)
            x = (x + s[f"{at}{name}.actnorm.bias"]) * s[f"{at}{name}.actnorm.logs"].exp()
            x = x.clamp(min=0)
        x = F.conv2d(x, s[f"{at}conv3.weight"], s[f"{at}conv3.bias"], padding=1)
        return x * (3 * s[f"{at}conv3.logs"]).exp()

    def normed(self, at: str):
        direction = self.state[at + "weight_v"]
        norm = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.ndim - 1))
        return self.state[at + "weight_g"] * direction / norm, self.state.get(at + "bias")

    def conv(self, x, at: str, padding: int):
        weight, bias = self.normed(at)
        return F.conv2d(x, weight, bias, padding=padding)

    def mixture(self, x, at: str):
        s, half = self.state, x.shape[1]
        h = self.conv(x, at + "in_conv.conv.", 1)
        blocks = {int(name.split(".")[6]) for name in s if name.startswith(at + "mid_convs.")}
        for block in sorted(blocks):
            h = self.block(h, f"{at}mid_convs.{block}.")
        raw = self.conv(h, at + "out_conv.conv.", 1)
        k = (raw.shape[1] // half - 2) // 3
        raw = raw.view(len(x), 2 + 3 * k, half, *x.shape[2:])
        scale, shift, logits, means, log_scales = raw.split((1, 1, k, k, k), 1)
        rescale = s[at + "rescale.weight_g"] * s[at + "rescale.weight_v"].sign()
        return rescale * scale[:, 0].tanh(), shift[:, 0], (logits, means, log_scales.clamp(min=-7))

    def block(self, x, at: str):
        h = self.conv(concat_elu(x), at + "conv.conv.conv.", 1)
        h = gate(self.conv(concat_elu(h), at + "conv.gate.conv.", 0), 1)
        x = self.norm((x + h).movedim(1, 3), at + "norm_1.")
        batch, height, width, c = x.shape
        flat = x.reshape(batch, -1, c)
        position = torch.arange(height * width, dtype=torch.float32)[:, None]
        rates = torch.exp(torch.arange(c // 2) * -(math.log(1e4) / (c // 2 - 1)))
        code = torch.cat(((position * rates).sin(), (position * rates).cos()), 1)
        keys, values, queries = ((flat + code) @ self.normed(at + "attn.in_proj.")[0].T).chunk(3, 2)
        heads = []
        for part in torch.arange(c).chunk(HEADS):
            scores = queries[..., part] @ keys[..., part].transpose(1, 2) * len(part) ** -0.5
            heads.append(scores.softmax(-1) @ values[..., part])
        weight, bias = self.normed(at + "attn.gate.")
        h = gate(torch.cat(heads, 2) @ weight.T + bias, 2).view(batch, height, width, c)
        return self.norm(x + h, at + "norm_2.").movedim(3, 1)

    def norm(self, x, at: str):
        return F.layer_norm(x, x.shape[-1:], self.state[at + "weight"], self.state[at + "bias"])

    def prior(self, level: int, z, context, noise=None):
        """`log p(z | context)`; with `noise` a sample instead, as the second result."""
        s, at = self.state, f"flow.c_prior.prior_list.{level}."
        kernel, dilation = [(5, 2), (5, 1), (3, 1)][min(level, 2)]
        total, drawn = 0.0, []
        shown = torch.zeros_like((z if noise is None else noise)[:, :1])
        condition = None
        if context is not None:
            conv = at + "z1_cond_network."
            h = F.conv2d(context, s[conv + "0.weight"], s[conv + "0.bias"], padding=2).clamp(min=0)
            condition = F.conv2d(h, s[conv + "2.weight"], s[conv + "2.bias"], padding=2)
        states: dict[int, tuple] = {}
        cells = at + "prior_lstm.lstm."
        layers = sum(name.startswith(cells + "weight_ih_l") for name in s)
        for j in range((z if noise is None else noise).shape[1]):
            h = shown if condition is None else torch.cat((shown, condition), 1)
            embed = at + "prior_lstm.conv_embed."
            h = F.conv2d(h, s[embed + "weight"], s[embed + "bias"], padding=kernel // 2)
            for layer in range(layers):
                before, cell = states.get(layer, (torch.zeros_like(h), torch.zeros_like(h)))
                gates = sum(
                    F.conv2d(
                        value, s[f"{cells}weight_{kind}_l{layer}"], s[f"{cells}bias_{kind}_l{layer}"],
                        padding=dilation * (kernel - 1) // 2, dilation=dilation,
                    )
                    for kind, value in (("ih", h), ("hh", before))
                )  # fmt: skip
                i, f, g, o = gates.chunk(4, 1)
                cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
                h = o.sigmoid() * cell.tanh()
                states[layer] = (h, cell)
            out = at + "prior_lstm.conv_out1."
            mean, log_scale = F.conv2d(h, s[out + "weight"], s[out + "bias"], padding=1).split(1, 1)
            if noise is None:
                shown = z[:, j : j + 1]
                normal = torch.distributions.Normal(mean, log_scale.exp())
                total = total + normal.log_prob(shown).sum((1, 2, 3))
            else:
                shown = mean + log_scale.exp() * noise[:, j : j + 1]
                drawn.append(shown)
        return total, torch.cat(drawn, 1) if drawn else None


def mixture_odds(x, logits, means, log_scales):
    z = (x.unsqueeze(1) - means) * (-log_scales).exp()
    weights = logits.log_softmax(1)
    cdf = torch.logsumexp(weights + F.logsigmoid(z), 1)
    survival = torch.logsumexp(weights + F.logsigmoid(-z), 1)
    density = torch.logsumexp(weights + F.logsigmoid(z) + F.logsigmoid(-z) - log_scales, 1)
    return cdf - survival, density - cdf - survival


def concat_elu(x):
    return F.elu(torch.cat((x, -x), 1))


def gate(x, dim: int):
    a, b = x.chunk(2, dim)
    return a * b.sigmoid()


def squeeze(x):
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, 4 * c, h // 2, w // 2)
