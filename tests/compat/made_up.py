"""State dicts of any size in the authors' naming, with random values."""

import torch


def state_dict(
    coupling: str, levels: int, steps: int, channels: int, lstm=32, layers=3, blocks=10, components=32
):
    generator = torch.Generator().manual_seed(levels + 10 * steps + 100 * channels)
    state: dict[str, torch.Tensor] = {}

    def put(name: str, *shape: int, size=0.1, about=0.0):
        state[name] = about + size * torch.randn(*shape, generator=generator)

    def actnorm(at: str, width: int):
        put(at + "bias", 1, width, 1, 1)
        put(at + "logs", 1, width, 1, 1)
        state[at + "is_initialized"] = torch.ones(1)

    def normed(at: str, out: int, *rest: int, bias=True):
        if bias:
            put(at + "bias", out)
        put(at + "weight_g", out, *[1] * len(rest), size=0.05, about=0.5)
        put(at + "weight_v", out, *rest)

    width = 3
    for level in range(levels):
        width *= 4
        half = width // 2
        for step in range(steps):
            at = f"flow.layers.{level * (steps + 2) + 1 + step}."
            if coupling == "affine":
                net = at + "coupling.NN_net."
                put(net + "conv1.weight", channels, half, 3, 3)
                actnorm(net + "conv1.actnorm.", channels)
                put(net + "conv2.weight", channels, channels, 1, 1)
                actnorm(net + "conv2.actnorm.", channels)
                put(net + "conv3.weight", width, channels, 3, 3)
                put(net + "conv3.bias", width)
                put(net + "conv3.logs", width, 1, 1)
            else:
                net = at + "coupling.nn."
                normed(net + "in_conv.conv.", channels, half, 3, 3)
                for block in range(blocks):
                    mid = f"{net}mid_convs.{block}."
                    normed(mid + "conv.conv.conv.", channels, 2 * channels, 3, 3)
                    normed(mid + "conv.gate.conv.", 2 * channels, 2 * channels, 1, 1)
                    normed(mid + "attn.in_proj.", 3 * channels, channels, bias=False)
                    normed(mid + "attn.gate.", 2 * channels, channels)
                    for norm in ("norm_1.", "norm_2."):
                        put(mid + norm + "weight", channels, about=1)
                        put(mid + norm + "bias", channels)
                normed(net + "out_conv.conv.", half * (2 + 3 * components), channels, 3, 3)
                put(net + "rescale.weight_g", half, 1, 1, about=0.5)
                put(net + "rescale.weight_v", half, 1, 1)
            actnorm(at + "actnormlayer.", width)
            inner = at + "invert_1x1_layer."
            rotation = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
            p, lower, upper = torch.linalg.lu(rotation)
            state[inner + "l"] = lower
            state[inner + "log_s"] = upper.diagonal().abs().log()
            state[inner + "u"] = upper.triu(1)
            state[inner + "p"] = p
            state[inner + "sign_s"] = upper.diagonal().sign()
        last = level == levels - 1
        width = width if last else half
        kernel = 5 if level < 2 else 3
        at = f"flow.c_prior.prior_list.{level}."
        put(at + "z1_cond_network.0.weight", 32, width, 5, 5)
        put(at + "z1_cond_network.0.bias", 32)
        put(at + "z1_cond_network.2.weight", 4, 32, 5, 5)
        put(at + "z1_cond_network.2.bias", 4)
        for layer in range(layers):
            for kind in ("ih", "hh"):
                put(f"{at}prior_lstm.lstm.weight_{kind}_l{layer}", 4 * lstm, lstm, kernel, kernel)
                put(f"{at}prior_lstm.lstm.bias_{kind}_l{layer}", 4 * lstm)
        put(at + "prior_lstm.conv_embed.weight", lstm, 1 if last else 5, kernel, kernel)
        put(at + "prior_lstm.conv_embed.bias", lstm)
        put(at + "prior_lstm.conv_out1.weight", 2, lstm, 3, 3)
        put(at + "prior_lstm.conv_out1.bias", 2)
    return state
