"""The multi-scale autoregressive (mAR) prior: channel after channel."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.counting import tick
from marscf.kernels.precision import exact
from marscf.nets.conv_lstm import ConvLSTM, State
from marscf.priors.gaussian import gaussian_log_density
from marscf.priors.prior import Prior

#: Kernel size and dilation of the LSTM at levels 1, 2 and on (the authors' code).
KERNELS = ((5, 2), (5, 1), (3, 1))
CONTEXT_CHANNELS = 4


class MARPrior(Prior):
    """`p(z | r) = Π_j N(z_j; μ_j(z_<j, r), σ_j(z_<j, r))` over the channels j of z.

    A convolutional LSTM runs over the channels; its input at j is channel j-1 (zeros first), embedded
    together with the context r (Bhattacharyya et al., arXiv 2004.03891, section 3.2):

        h_j = LSTM(E [z_{j-1}, context_net(r)], h_{j-1}),   (μ_j, log σ_j) = moments(h_j)

    The LSTM's first layer convolves the embedding with W. Both are linear, so the gates have two shares: that
    of the context, `W E_r context_net(r) + b`, is the same for all channels; that of the channel before is
    `W E_z z_{j-1}`, and when the density is computed all channels are known and it is one batch.

    Arguments:
        context_channels: of r; None at the last level.
        lstm_channels, lstm_layers: of the convolutional LSTM.
        level: 1, 2, …, sets kernel size and dilation.
        sides: height and width of z.

    An LSTM with dilation d on an image is d² LSTMs without it, one on each of the lattices of every d-th
    pixel. Convolutions without dilation are up to twice as fast, so the lattices are made a batch where d
    divides the sides.
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
        self.context_net = None
        if context_channels is not None:
            self.context_net = nn.Sequential(
                nn.Conv2d(context_channels, 32, 5, padding=2),
                nn.ReLU(),
                nn.Conv2d(32, CONTEXT_CHANNELS, 5, padding=2),
            )
        inputs = 1 + (0 if self.context_net is None else CONTEXT_CHANNELS)
        self.embed = nn.Conv2d(inputs, lstm_channels, kernel, padding=kernel // 2)
        self.lstm = ConvLSTM(lstm_channels, lstm_layers, kernel, dilation // self.lattice)
        self.moments = nn.Conv2d(lstm_channels, 2, 3, padding=1)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """See `Prior.log_prob`: `Σ_j log N(z_j; μ_j, σ_j)`."""
        channels = z.transpose(0, 1)
        steps = len(channels)
        shared = self._context_gates(context, z)
        own = self._channel_gates(channels[:-1].flatten(0, 1).unsqueeze(1))
        own = own.unflatten(0, (steps - 1, len(shared)))
        hidden = self.lstm(torch.cat((shared.unsqueeze(0), shared + own)))
        moments = self._moments(hidden.flatten(0, 1)).to(z.dtype)
        mean, log_scale = moments.unflatten(0, (steps, -1)).unbind(2)
        with exact(z):
            return gaussian_log_density(channels, mean, log_scale).sum((0, 2, 3))

    def sample(self, context: Tensor | None, noise: Tensor) -> Tensor:
        """See `Prior.sample`: `z_j = μ_j + σ_j ε_j`, one sequential step per channel (MARPS)."""
        shared = self._context_gates(context, noise)
        state: State | None = None
        channels: list[Tensor] = []
        for eps in noise.split(1, 1):
            tick()
            gates = shared + self._channel_gates(channels[-1]) if channels else shared
            hidden, state = self.lstm.advance(gates, state)
            mean, log_scale = self._moments(hidden).to(noise.dtype).split(1, 1)
            channels.append(mean + torch.exp(log_scale) * eps)
        return torch.cat(channels, 1)

    def _context_gates(self, context: Tensor | None, like: Tensor) -> Tensor:
        """`W E_r context_net(r) + b`, `(B d²,4h,H/d,W/d)`; without a context the biases alone."""
        if self.context_net is None:  # the same for all images
            inputs, weight = torch.zeros_like(like[:1, :1]), self.embed.weight
        else:
            inputs, weight = self.context_net(context), self.embed.weight[:, 1:]
        embedded = functional.conv2d(inputs, weight, self.embed.bias, padding=self.embed.padding)
        gates = self.lstm.input_gates(split_lattices(embedded, self.lattice), 0)
        return gates.repeat(len(like) // len(inputs), 1, 1, 1)

    def _channel_gates(self, channels: Tensor) -> Tensor:
        """`W E_z z` of channels `(N,1,H,W)`: `(N d²,4h,H/d,W/d)`."""
        embedded = functional.conv2d(channels, self.embed.weight[:, :1], padding=self.embed.padding)
        return self.lstm.input_gates(split_lattices(embedded, self.lattice), 0, bias=False)

    def _moments(self, hidden: Tensor) -> Tensor:
        """Mean and log-scale `(N,2,H,W)` of the LSTM's `hidden (N d²,h,H/d,W/d)`."""
        moments: Tensor = self.moments(join_lattices(hidden, self.lattice))
        return moments


def split_lattices(x: Tensor, d: int) -> Tensor:
    """The d² lattices of every d-th pixel of images, `(N,C,H,W)` → `(N d²,C,H/d,W/d)`."""
    parts = functional.pixel_unshuffle(x, d).unflatten(1, (x.shape[1], -1))
    return parts.transpose(1, 2).flatten(0, 1)


def join_lattices(parts: Tensor, d: int) -> Tensor:
    """The inverse of `split_lattices`."""
    parts = parts.unflatten(0, (-1, d**2)).transpose(1, 2)
    return functional.pixel_shuffle(parts.flatten(1, 2), d)
