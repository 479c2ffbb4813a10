"""Answers to `UNet`."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class _Block(nn.Module):
    """A residual block: conv, norm, shift by the embedding, conv."""

    def __init__(self, in_ch, out_ch, emb_dim):
        super().__init__()
        self.conv1 = nn.Conv2d(in_ch, out_ch, 3, padding=1)
        self.norm = self.make_norm(out_ch)
        self.emb = nn.Linear(emb_dim, out_ch)
        self.conv2 = nn.Conv2d(out_ch, out_ch, 3, padding=1)
        self.short = nn.Conv2d(in_ch, out_ch, 1) if in_ch != out_ch else nn.Identity()

    def make_norm(self, ch):
        return nn.GroupNorm(2, ch)

    def between(self, h, e):
        return self.norm(h) + e

    def forward(self, x, emb):
        h = self.between(self.conv1(F.silu(x)), self.emb(F.silu(emb))[:, :, None, None])
        return self.short(x) + self.conv2(F.silu(h))


class _Cancelled(_Block):
    def make_norm(self, ch):
        return nn.GroupNorm(ch, ch)

    def between(self, h, e):
        return self.norm(h + e)


class _BatchNormed(_Block):
    def make_norm(self, ch):
        return nn.BatchNorm2d(ch)


class _Net(nn.Module):
    """A U-Net in small steps, each of which a wrong answer may replace."""

    block = _Block
    time_dim = 16

    def __init__(self, in_ch, base_ch, mults, num_classes=None):
        super().__init__()
        chs, emb = self.widths(base_ch, mults), self.emb_dim(base_ch)
        self.time = nn.Sequential(nn.Linear(self.time_dim, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.label = self.make_label(num_classes, emb)
        self.first = nn.Conv2d(in_ch, chs[0], 3, padding=1)
        self.down = nn.ModuleList(self.block(a, b, emb) for a, b in zip([chs[0], *chs], chs, strict=False))
        self.middle = self.block(chs[-1], chs[-1], emb)
        ups = [*chs[1:], chs[-1]]
        self.up = nn.ModuleList(
            self.block(a + (b if self.skips(i, len(chs)) else 0), b, emb)
            for i, (a, b) in enumerate(zip(ups, chs, strict=True))
        )
        self.norm = nn.GroupNorm(2, chs[0])
        self.last = nn.Conv2d(chs[0], in_ch, 3, padding=1)

    def widths(self, base_ch, mults):
        return [base_ch * m for m in mults]

    def emb_dim(self, base_ch):
        return 4 * base_ch

    def make_label(self, n, emb):
        return None if n is None else nn.Embedding(n, emb)

    def skips(self, level, levels):
        return True

    def waves(self, t):
        half = self.time_dim // 2
        a = t.double()[:, None] * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        return torch.cat([a.cos(), a.sin()], 1).float()

    def say(self, t, y):
        emb = self.time(self.waves(t))
        return emb if y is None else emb + self.label(y)

    def finish(self, out, x):
        return out

    def forward(self, x, t, y=None):
        emb, h, hs = self.say(t, y), self.first(x), []
        for i, block in enumerate(self.down):
            h = block(F.avg_pool2d(h, 2) if i else h, emb)
            hs.append(h)
        h = self.middle(h, emb)
        for i in reversed(range(len(self.up))):
            h = self.up[i](torch.cat([h, hs[i]], 1) if self.skips(i, len(hs)) else h, emb)
            h = F.interpolate(h, scale_factor=2.0) if i else h
        return self.finish(self.last(F.silu(self.norm(h))), x)


class wrong_cancels_the_time(_Net):
    """Blocks with one channel a group after the added embedding."""

    block = _Cancelled


class wrong_time_in_unit_interval(_Net):
    """Divides t by a thousand before its embedding: nearly all waves stand still."""

    def waves(self, t):
        return super().waves(t / 1000)


class wrong_batch_norm(_Net):
    """Blocks with batch norm."""

    block = _BatchNormed


class wrong_no_skips(_Net):
    """An encoder and a decoder, with nothing between them but the bottleneck."""

    def skips(self, level, levels):
        return False


class wrong_finest_skip_only(_Net):
    """The decoder reads the encoder at full size, and below no more."""

    def skips(self, level, levels):
        return level == 0


class wrong_finest_skip_missing(_Net):
    """The decoder reads the encoder everywhere but at full size."""

    def skips(self, level, levels):
        return level > 0


class wrong_tanh(_Net):
    """Squashes the output to [-1, 1]."""

    def finish(self, out, x):
        return out.tanh()


class wrong_clamped(_Net):
    """Cuts the output off at [-1, 1]."""

    def finish(self, out, x):
        return out.clamp(-1, 1)


class wrong_adds_x(_Net):
    """A global residual."""

    def finish(self, out, x):
        return x + out


class wrong_time_of_the_first(_Net):
    """The first sample's time for all."""

    def waves(self, t):
        return super().waves(t[:1].expand(len(t)))


class wrong_deaf(_Net):
    """The time is never used; parameters wait for it in vain."""

    def waves(self, t):
        return 0 * super().waves(t)


class wrong_time_as_index(_Net):
    """A table of steps: integers only."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.table = nn.Embedding(1500, self.time_dim)

    def waves(self, t):
        return self.table(t)


class wrong_time_rounded(_Net):
    """Goes to the step below."""

    def waves(self, t):
        return super().waves(t.long())


class wrong_none_is_label_zero(_Net):
    """y = None means label 0."""

    def say(self, t, y):
        if self.label is not None and y is None:
            y = torch.zeros(len(t), dtype=torch.int64)
        return super().say(t, y)


class wrong_none_is_the_null_label(_Net):
    """y = None means the last label."""

    def say(self, t, y):
        if self.label is not None and y is None:
            y = torch.full((len(t),), self.label.num_embeddings - 1)
        return super().say(t, y)


class wrong_null_not_counted(_Net):
    """One label fewer than num_classes, as if the null label came on top elsewhere."""

    def make_label(self, n, emb):
        return None if n is None else nn.Embedding(n - 1, emb)


class wrong_labels_ignored(_Net):
    """Labels are accepted and not used."""

    def say(self, t, y):
        return super().say(t, None)


class wrong_label_of_the_first(_Net):
    """The first sample's label for all."""

    def say(self, t, y):
        return super().say(t, None if y is None else y[:1])


class wrong_label_as_a_number(_Net):
    """The label times one vector, in place of an embedding for each."""

    def make_label(self, n, emb):
        return None if n is None else nn.Linear(1, emb, bias=False)

    def say(self, t, y):
        return super().say(t, None if y is None else y.float()[:, None])


class wrong_channels_double(_Net):
    """Channels double from level to level, whatever mults says."""

    def widths(self, base_ch, mults):
        return [base_ch * 2**i for i in range(len(mults))]


class wrong_multipliers_multiply_up(_Net):
    """Each multiplier counts from the level above."""

    def widths(self, base_ch, mults):
        return [base_ch * math.prod(mults[: i + 1]) for i in range(len(mults))]


class wrong_huge_embedding(_Net):
    """Four thousand numbers for the time."""

    def emb_dim(self, base_ch):
        return 4096


class wrong_unused_layer(_Net):
    """A layer that the forward pass forgets: the downsampling of the last level, say."""

    def __init__(self, in_ch, base_ch, mults, num_classes=None):
        super().__init__(in_ch, base_ch, mults, num_classes)
        self.spare = nn.Conv2d(base_ch, base_ch, 3, stride=2)


class wrong_blocks_in_a_list(_Net):
    """The decoder's blocks in a plain list: no optimizer would ever see them."""

    def __init__(self, in_ch, base_ch, mults, num_classes=None):
        super().__init__(in_ch, base_ch, mults, num_classes)
        blocks = list(self.up)
        del self.up
        self.up = blocks


class wrong_quiet_blocks_in_a_list(_Net):
    """The same on the way down, with blocks that start as the identity and never leave it."""

    def __init__(self, in_ch, base_ch, mults, num_classes=None):
        super().__init__(in_ch, base_ch, mults, num_classes)
        blocks = list(self.down)
        del self.down
        self.down = blocks
        for block in blocks:
            nn.init.zeros_(block.conv2.weight)
            nn.init.zeros_(block.conv2.bias)


class wrong_layer_named_double(_Net):
    """`double` is a method of every module, and it wins over a layer of this name."""

    def __init__(self, in_ch, base_ch, mults, num_classes=None):
        super().__init__(in_ch, base_ch, mults, num_classes)
        self.double = nn.ModuleList(nn.ConvTranspose2d(base_ch * m, base_ch * m, 2, stride=2) for m in mults)

    def forward(self, x, t, y=None):
        emb, h, hs = self.say(t, y), self.first(x), []
        for i, block in enumerate(self.down):
            h = block(F.avg_pool2d(h, 2) if i else h, emb)
            hs.append(h)
        h = self.middle(h, emb)
        for i in reversed(range(len(self.up))):
            h = self.up[i](torch.cat([h, hs[i]], 1), emb)
            h = self.double[i](h) if i else h
        return self.last(F.silu(self.norm(h)))


class wrong_decoder_is_deaf(_Net):
    """The decoder's blocks are given zeros in place of the embedding."""

    def forward(self, x, t, y=None):
        emb, h, hs = self.say(t, y), self.first(x), []
        for i, block in enumerate(self.down):
            h = block(F.avg_pool2d(h, 2) if i else h, emb)
            hs.append(h)
        h = self.middle(h, emb)
        for i in reversed(range(len(self.up))):
            h = self.up[i](torch.cat([h, hs[i]], 1), torch.zeros_like(emb))
            h = F.interpolate(h, scale_factor=2.0) if i else h
        return self.last(F.silu(self.norm(h)))


class wrong_frozen_embedding(_Net):
    """The time's layers are outside of the graph."""

    def say(self, t, y):
        return super().say(t, y).detach()


class wrong_in_place(_Net):
    """Normalises the picture where it lies."""

    def forward(self, x, t, y=None):
        out = super().forward(x, t, y)
        if not x.requires_grad:
            x.mul_(0.5)
        return out


class wrong_fixed_size(_Net):
    """A learned code for each place of the first picture that it sees; other sizes get none."""

    def forward(self, x, t, y=None):
        self.size = getattr(self, "size", x.shape[2:])
        out = super().forward(x, t, y)
        return out if x.shape[2:] == self.size else out[:, :, : self.size[0], : self.size[1]]


class wrong_two_levels_always(_Net):
    """Two levels, whatever mults says."""

    def widths(self, base_ch, mults):
        return [base_ch * m for m in (*mults, 2)[:2]]


class right_concatenated(_Net):
    """Skips are concatenated, sizes halved by averaging and doubled by repetition."""


class right_deepest_through_the_middle(_Net):
    """No skip at the deepest level, whose features reach the decoder through the middle."""

    def skips(self, level, levels):
        return level < levels - 1


class right_added(nn.Module):
    """Skips are added; strided and transposed convolutions; attention in the middle; parts start at zero."""

    def __init__(self, in_ch, base_ch, mults, num_classes=None):
        super().__init__()
        chs, emb = [base_ch * m for m in mults], 3 * base_ch
        pairs = list(zip(chs[:-1], chs[1:], strict=True))
        self.freqs = nn.Buffer(torch.exp(-math.log(10000.0) * torch.arange(32) / 32), persistent=False)
        self.time = nn.Sequential(nn.Linear(64, emb), nn.GELU(), nn.Linear(emb, emb))
        if num_classes is not None:
            self.label = nn.Linear(num_classes, emb, bias=False)
        self.num_classes = num_classes
        self.enter = nn.Conv2d(in_ch, chs[0], 3, padding=1)
        self.down = nn.ModuleList(_Block(c, c, emb) for c in chs)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.middle = nn.ModuleList([_Block(chs[-1], chs[-1], emb), _Block(chs[-1], chs[-1], emb)])
        self.attend = nn.MultiheadAttention(chs[-1], 2, batch_first=True)
        self.up = nn.ModuleList(_Block(c, c, emb) for c in chs)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 4, stride=2, padding=1) for a, b in pairs)
        self.leave = nn.Conv2d(chs[0], in_ch, 1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x, t, y=None):
        angles = t.float()[:, None] * self.freqs
        emb = self.time(torch.cat([angles.cos(), angles.sin()], 1))
        if y is not None:
            emb = emb + self.label(F.one_hot(y, self.num_classes).float())
        h, hs = self.enter(x), []
        for i, block in enumerate(self.down):
            h = block(h, emb)
            hs.append(h)
            if i < len(self.shrink):
                h = self.shrink[i](h)
        h = self.middle[0](h, emb)
        tokens = h.flatten(2).mT
        h = self.middle[1](h + self.attend(tokens, tokens, tokens, need_weights=False)[0].mT.reshape(h.shape), emb)
        for i in reversed(range(len(self.up))):
            h = self.up[i](h + hs[i], emb)
            if i:
                h = self.grow[i - 1](h)
        return self.leave(F.silu(h))


class right_two_blocks_a_level(nn.Module):
    """DDPM's shape: several blocks a level, each with its own skip, popped from a stack; pixels as channels."""

    def __init__(self, in_ch, base_ch, mults, num_classes=None):
        super().__init__()
        emb = 2 * base_ch
        self.time, self.emb_in = nn.Linear(base_ch, emb), base_ch
        self.label = nn.Embedding(num_classes, emb) if num_classes else None
        self.enter = nn.Conv2d(in_ch, base_ch, 3, padding=1)
        ch, stack, self.down, self.up = base_ch, [base_ch], nn.ModuleList(), nn.ModuleList()
        for i, m in enumerate(mults):
            for _ in range(2):
                self.down.append(_Block(ch, base_ch * m, emb))
                ch = base_ch * m
                stack.append(ch)
            if i < len(mults) - 1:
                self.down.append(nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * ch, ch, 1)))
                stack.append(ch)
        self.middle = _Block(ch, ch, emb)
        for i, m in reversed(list(enumerate(mults))):
            for _ in range(3):
                self.up.append(_Block(ch + stack.pop(), base_ch * m, emb))
                ch = base_ch * m
            if i:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(ch, ch, 3, padding=1)))
        self.leave = nn.Sequential(nn.GroupNorm(4, ch), nn.SiLU(), nn.Conv2d(ch, in_ch, 3, padding=1))

    def forward(self, x, t, y=None):
        half = self.emb_in // 2
        a = t.double()[:, None] * 10000.0 ** (-torch.arange(half) / half)
        emb = self.time(torch.cat([a.sin(), a.cos()], 1).float())
        if y is not None:
            emb = emb + self.label(y)
        h = self.enter(x)
        hs = [h]
        for layer in self.down:
            h = layer(h, emb) if isinstance(layer, _Block) else layer(h)
            hs.append(h)
        h = self.middle(h, emb)
        for layer in self.up:
            h = layer(torch.cat([h, hs.pop()], 1), emb) if isinstance(layer, _Block) else layer(h)
        return self.leave(h)
