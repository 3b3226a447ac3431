"""A causal Transformer over a sequence of vectors, with a cache for one step after the other.

Its form is that of TarFlow's public code (Zhai et al., arXiv 2412.06329, section 2): normalisation before
attention and before the fully connected layers, learned positions, an output that starts at zero. Theirs has
no normalisation before the output: a scale then grows without bound with its input, and the inverse with it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.errors import ConfigError
from marscf.nets.modules import Modules

WIDENING = 4  # of the fully connected layers


class Layer(nn.Module):
    """`h + attention(norm h)`, then `h + mlp(norm h)`."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.wide, self.narrow = (
            nn.Linear(channels, WIDENING * channels),
            nn.Linear(WIDENING * channels, channels),
        )

    def forward(self, h: Tensor) -> Tensor:
        """Map `h (B,T,C)` to the same shape; position t sees positions up to t."""
        q, k, v = self._project(h)
        return self._close(h, functional.scaled_dot_product_attention(q, k, v, is_causal=True))

    def step(self, h: Tensor, keys: Tensor, values: Tensor, t: int, temperature: float = 1.0) -> Tensor:
        """Map position t, `h (B,1,C)`; its key and value are added to what is kept, `(B,heads,T,C/heads)`.

        The attention's logits are divided by `temperature`.
        """
        q, keys[:, :, t : t + 1], values[:, :, t : t + 1] = self._project(h)
        seen = keys[:, :, : t + 1], values[:, :, : t + 1]
        return self._close(h, functional.scaled_dot_product_attention(q / temperature, *seen))

    def _project(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(self.attention_norm(h)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def _close(self, h: Tensor, attended: Tensor) -> Tensor:
        h = h + self.out(attended.transpose(1, 2).flatten(2))
        out: Tensor = h + self.narrow(functional.gelu(self.wide(self.mlp_norm(h))))
        return out


class CausalTransformer(nn.Module):
    """Maps `x (B,T,F)` to `(B,T,out)`: position t is given positions before t. At first it gives zeros.

    Args:
        features: F.
        out: features of the output.
        length: T.
        channels: of the layers; `heads` must divide them.
        layers: number of layers.
        heads: of the attention.
    """

    def __init__(self, features: int, out: int, length: int, *, channels: int, layers: int, heads: int):
        super().__init__()
        if channels % heads:
            raise ConfigError(f"options.heads: {heads} heads do not divide {channels} channels")
        self.entry = nn.Linear(features, channels)
        self.positions = nn.Parameter(0.01 * torch.randn(length, channels))
        self.layers = Modules[Layer]([Layer(channels, heads) for _ in range(layers)])
        self.exit_norm, self.exit = nn.LayerNorm(channels), nn.Linear(channels, out)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map all positions at once; the first one's output is zero, as nothing is before it."""
        h = self.entry(x[:, :-1]) + self.positions[:-1]
        for layer in self.layers:
            h = layer(h)
        return functional.pad(self.exit(self.exit_norm(h)), (0, 0, 1, 0))

    def begin(self, batch: int, temperature: float = 1.0) -> "Steps":
        """Return a cache for `batch` sequences that are written one position after the other.

        The attention's logits are divided by `temperature`: above 1 it is blurred.
        """
        return Steps(self, batch, temperature)


class Steps:
    """What a sequence's earlier positions leave for the later ones: keys and values of each layer."""

    def __init__(self, net: CausalTransformer, batch: int, temperature: float):
        self.net, self.temperature, self.t = net, temperature, 0
        length, channels = net.positions.shape
        heads = net.layers[0].heads
        shape = (len(net.layers), 2, batch, heads, length, channels // heads)
        self.kept = net.positions.new_empty(shape)

    def next(self, x: Tensor) -> Tensor:
        """Take position t `(B,F)`, and return the output of position t+1, `(B,out)`."""
        net, t = self.net, self.t
        h = (net.entry(x) + net.positions[t])[:, None]
        for layer, (keys, values) in zip(net.layers, self.kept, strict=True):
            h = layer.step(h, keys, values, t, self.temperature)
        self.t += 1
        out: Tensor = net.exit(net.exit_norm(h[:, 0]))
        return out
