"""Captions: words to numbers, numbers to vectors, and vectors into a diffusion transformer.

A tokenizer turns a caption into a row of token ids; a text encoder turns the row into one vector for each word, in
which its neighbours have left their traces ("red" knows whether it stands before "circle" or "background"); and the
image's tokens read these vectors by cross-attention. Put together, ids take the place of a label y: a row of `PAD`
alone says nothing, and is the null label of classifier-free guidance.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from noise2data.networks.dit import DiT, SelfAttention, feed_forward, norm
from noise2data.networks.embeddings import timestep_embedding

PAD, UNKNOWN, START = 0, 1, 2
_WORD = re.compile("[a-z0-9]+")


@dataclass(frozen=True)
class CaptionTokenizer:
    """Word-level tokens: ids 0 for padding, 1 for unknown words, 2 for the start, and i + 3 for word i of `vocab`.

    vocab: distinct words, each of lower-case letters a-z and digits. length: ids of a caption, >= 1.
    Raises ValueError for anything else.
    """

    vocab: Sequence[str]
    length: int

    def __post_init__(self) -> None:
        if isinstance(self.vocab, str):
            raise ValueError(f"vocab is {self.vocab!r}; expected a sequence of words")
        for i, word in enumerate(self.vocab):
            if not _WORD.fullmatch(word):
                raise ValueError(f"vocab contains {word!r}; expected words of lower-case letters a-z and digits")
            if word in self.vocab[:i]:
                raise ValueError(f"vocab contains {word!r} twice; expected distinct words")
        if self.length < 1:
            raise ValueError(f"length is {self.length}; expected at least 1, for the start")
        object.__setattr__(self, "vocab", tuple(self.vocab))

    @property
    def size(self) -> int:
        """The number of different ids."""
        return len(self.vocab) + 3

    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, mask), int64 and bool (B, length), mask True where there is no padding.

        Captions are put in lower case; words are the runs of a-z and 0-9 in them. Each row begins with the start, and
        is cut, or padded at its end, to `length`. Raises ValueError if texts is one string rather than a list of them.
        """
        if isinstance(texts, str):
            raise ValueError(f"texts is {texts!r}; expected a list of captions")
        number = {word: i + 3 for i, word in enumerate(self.vocab)}
        ids = torch.full((len(texts), self.length), PAD)
        for row, text in zip(ids, texts, strict=True):
            words = [START, *(number.get(word, UNKNOWN) for word in _WORD.findall(text.lower()))][: self.length]
            row[: len(words)] = torch.tensor(words)
        return ids, ids != PAD


class TextEncoder(nn.Module):
    """Token ids to one vector for each word: an embedding, and blocks of self-attention and feed-forward layers.

    vocab_size: number of different ids. length: the longest row. dim: width of the vectors, even. heads: a divisor of
    dim. depth: number of blocks. Raises ValueError unless heads divides dim.
    Source: Vaswani et al., "Attention Is All You Need", 2017, section 3; with the norm in front of each layer (Xiong et
    al., "On Layer Normalization in the Transformer Architecture", 2020).
    """

    positions: torch.Tensor

    def __init__(self, vocab_size: int, length: int, dim: int = 128, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, dim)
        # The code of a noise level's step is the transformer's code of a word's place.
        self.register_buffer("positions", timestep_embedding(torch.arange(length), dim), persistent=False)
        self.attentions = nn.ModuleList(SelfAttention(dim, heads) for _ in range(depth))
        self.feed_forwards = nn.ModuleList(feed_forward(dim) for _ in range(depth))

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(ctx, mask) for cross-attention: (B, M, dim), and bool (B, M), True where ids is not `PAD`.

        ids: (B, M) int64, M at most `length`; ValueError for another shape. Padding changes no word's vector.
        """
        if ids.ndim != 2 or ids.shape[1] > len(self.positions):
            raise ValueError(f"ids has shape {tuple(ids.shape)}; expected (B, M), M at most {len(self.positions)}")
        mask = ids != PAD
        x: torch.Tensor = self.embed(ids) + self.positions[: ids.shape[1]]
        for attention, feed in zip(self.attentions, self.feed_forwards, strict=True):
            x = x + attention(norm(x), mask)
            x = x + feed(norm(x))
        return norm(x), mask


class TextToImage(nn.Module):
    """A DiT and a text encoder as one network `net(x, c, y=None)`, whose labels y are captions: (B, M) token ids.

    net: a DiT made with ctx_dim, the width of the encoder's vectors.
    A row of `PAD` and y=None both say nothing, with the same result; train with some captions replaced by `PAD`, and
    classifier-free guidance finds its unconditional model there.
    """

    def __init__(self, net: DiT, encoder: TextEncoder) -> None:
        super().__init__()
        self.net, self.encoder = net, encoder

    def forward(self, x: torch.Tensor, c: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """x: (B, C, H, W). c: (B,). y: (B, M) int64 ids of a `CaptionTokenizer`, or None. Returns x's shape."""
        ctx, mask = (None, None) if y is None else self.encoder(y)
        out: torch.Tensor = self.net(x, c, ctx=ctx, mask=mask)
        return out
