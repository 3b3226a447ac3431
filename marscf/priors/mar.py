"""The multi-scale autoregressive (mAR) prior: channel after channel."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.counting import tick
from marscf.nets.conv_lstm import ConvLSTM, State
from marscf.nets.precision import exact
from marscf.priors.gaussian import gaussian_log_density
from marscf.priors.prior import Prior

#: Kernel size and dilation of the LSTM at levels 1, 2 and on (the authors' code).
KERNELS = ((5, 2), (5, 1), (3, 1))
CONDITION_CHANNELS = 4


class MARPrior(Prior):
    """`p(z | r) = Π_j N(z_j; μ_j(z_<j, r), σ_j(z_<j, r))` over the channels j of z.

    A convolutional LSTM runs over the channels; its input at j is channel j-1 (zeros first), embedded
    together with the context r (Bhattacharyya et al., arXiv 2004.03891, section 3.2).

    Arguments:
        context_channels: of r; None at the last level.
        lstm_channels, lstm_layers: of the convolutional LSTM.
        level: 1, 2, …, sets kernel size and dilation.
        sides: height and width of z.

    A stack with dilation d on an image is d² stacks without it, one on each of the lattices of every d-th
    pixel: convolutions without dilation are up to twice as fast. So they run, as a batch, where d divides the
    sides.
    """

    def __init__(
        self,
        context_channels: int | None,
        *,
        lstm_channels: int,
        lstm_layers: int,
        level: int,
        sides: tuple[int, int],
    ):
        super().__init__()
        kernel, dilation = KERNELS[min(level, len(KERNELS)) - 1]
        self.lattice = dilation if all(side % dilation == 0 for side in sides) else 1
        self.condition = None
        if context_channels is not None:
            self.condition = nn.Sequential(
                nn.Conv2d(context_channels, 32, 5, padding=2),
                nn.ReLU(),
                nn.Conv2d(32, CONDITION_CHANNELS, 5, padding=2),
            )
        inputs = 1 + (0 if self.condition is None else CONDITION_CHANNELS)
        self.embed = nn.Conv2d(inputs, lstm_channels, kernel, padding=kernel // 2)
        self.lstm = ConvLSTM(lstm_channels, lstm_layers, kernel, dilation // self.lattice)
        self.moments = nn.Conv2d(lstm_channels, 2, 3, padding=1)

    def _apart(self, x: Tensor) -> Tensor:
        """The lattices of images, `(N,C,H,W)` → `(N d²,C,H/d,W/d)`."""
        parts = functional.pixel_unshuffle(x, self.lattice).unflatten(1, (x.shape[1], -1))
        return parts.transpose(1, 2).flatten(0, 1)

    def _together(self, parts: Tensor) -> Tensor:
        """The inverse of `_apart`."""
        parts = parts.unflatten(0, (-1, self.lattice**2)).transpose(1, 2)
        return functional.pixel_shuffle(parts.flatten(1, 2), self.lattice)

    def _context_gates(self, context: Tensor | None, like: Tensor) -> Tensor:
        """The share of the first layer's gates that all channels have in common, `(d² B,4h,H/d,W/d)`.

        Embedding and input-to-hidden convolution are linear in (previous channel, context), so the
        context's share is computed once for all channels.
        """
        padding = self.embed.padding
        if self.condition is None:
            zeros = torch.zeros_like(like[:1, :1])
            embedded = functional.conv2d(zeros, self.embed.weight, self.embed.bias, padding=padding)
        else:
            condition = self.condition(context)
            embedded = functional.conv2d(
                condition, self.embed.weight[:, 1:], self.embed.bias, padding=padding
            )
        gates = self.lstm.input_gates(self._apart(embedded), 0)
        return gates.repeat(len(like) // len(embedded), 1, 1, 1)

    def _channel_gates(self, channels: Tensor) -> Tensor:
        """The share of the first layer's gates of previous channels `(N,1,H,W)`: `(N d²,4h,H/d,W/d)`."""
        embedded = functional.conv2d(channels, self.embed.weight[:, :1], padding=self.embed.padding)
        return self.lstm.input_gates(self._apart(embedded), 0, bias=False)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """See `Prior.log_prob`."""
        channels = z.transpose(0, 1)
        steps = len(channels)
        common = self._context_gates(context, z)
        gates = common.unsqueeze(0)
        if steps > 1:
            own = self._channel_gates(channels[:-1].flatten(0, 1).unsqueeze(1))
            gates = torch.cat((gates, own.unflatten(0, (steps - 1, -1)) + common))
        hidden = self._together(self.lstm(gates).flatten(0, 1))
        mean, log_scale = self.moments(hidden).to(z.dtype).unflatten(0, (steps, -1)).unbind(2)
        with exact(z):
            return gaussian_log_density(channels, mean, log_scale).sum((0, 2, 3))

    def sample(self, context: Tensor | None, noise: Tensor) -> Tensor:
        """See `Prior.sample`: one sequential step a channel (MARPS)."""
        common = self._context_gates(context, noise)
        state: State | None = None
        channels: list[Tensor] = []
        for j in range(noise.shape[1]):
            tick()
            gates = common if j == 0 else common + self._channel_gates(channels[-1])
            hidden, state = self.lstm.advance(gates, state)
            mean, log_scale = self.moments(self._together(hidden)).to(noise.dtype).split(1, 1)
            channels.append(mean + torch.exp(log_scale) * noise[:, j : j + 1])
        return torch.cat(channels, 1)
