"""A network for points: what the two-dimensional experiments of the course train in half a minute.

All that it takes is put side by side, [x, embedding(c)], and goes through a few hidden layers. In the plane the
embedding of the noise level decides how good the samples are. With the preconditioning of Karras et al., for which a
`Denoiser` gives c = ln(sigma / alpha) / 4, one slow wave is best,

    cos(2 c), sin(2 c) = the cosine and sine of ln(sigma / alpha) / 2:        time_scale=2, time_dim=2,

which is smooth over all noise levels. Fast waves tell the levels apart so well that each
is learnt alone: after the same seconds of training the samples are several times as far from the data. The defaults are
for times c in [0, 1], of a network that predicts eps, x0, v or a velocity.
"""

import torch
from torch import nn

from noise2data.networks.embeddings import timestep_embedding
from noise2data.paths import wide


class MLP(nn.Module):
    """A multilayer perceptron as a network `net(x, c, y=None)`: x's shape out, 0 when new.

    dim: d of x (B, d). width: of the hidden layers. depth: their number.
    num_classes: number of labels y, the null label included if one is used; None for no labels.
    time_scale: what c is multiplied by before its embedding: 1000 for c in [0, 1], 1 for steps, 2 for ln(sigma) / 4.
    time_dim: numbers in the embedding of c, even.

    Raises ValueError for a dim, width, depth or num_classes below 1, and for an odd time_dim.
    """

    def __init__(
        self,
        dim: int,
        width: int = 128,
        depth: int = 3,
        num_classes: int | None = None,
        *,
        time_scale: float = 1000.0,
        time_dim: int = 32,
    ) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("width", width), ("depth", depth), ("num_classes", num_classes)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1")
        if time_dim < 2 or time_dim % 2:
            raise ValueError(f"time_dim is {time_dim}; expected an even number >= 2")
        self.dim, self.time_scale, self.time_dim = dim, time_scale, time_dim
        self.first = nn.Linear(dim + time_dim, width)
        self.embed_label = None if num_classes is None else nn.Embedding(num_classes, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.act = nn.SiLU()
        self.last = nn.Linear(width, dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: torch.Tensor, c: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """The network's prediction: x's shape.

        x: (B, dim). c: (B,), the time or noise level. y: (B,) int64 labels; None adds no embedding of a label.
        Raises ValueError for other shapes, and for a y in a network that was made without num_classes.
        """
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, {self.dim})")
        if c.shape != x.shape[:1]:
            raise ValueError(f"c has shape {tuple(c.shape)}; expected one number for each sample, ({len(x)},)")
        time = timestep_embedding(self.time_scale * wide(c), self.time_dim).to(x.dtype)
        h = self.first(torch.cat([x, time], 1))
        if y is not None:
            if self.embed_label is None:
                raise ValueError("y is given; expected None, as the network was made without num_classes")
            h = h + self.embed_label(y)
        for layer in self.hidden:
            h = layer(self.act(h))
        out: torch.Tensor = self.last(self.act(h))
        return out
