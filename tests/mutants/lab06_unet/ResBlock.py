"""Answers to `ResBlock`."""

import torch
from torch import nn
from torch.nn import functional as F


class _Block(nn.Module):
    """Two convolutions, and between them a norm and then the embedding, as a shift."""

    norm_first = True
    groups = 2

    def __init__(self, in_ch, out_ch, emb_dim):
        super().__init__()
        self.conv1 = nn.Conv2d(in_ch, out_ch, 3, padding=1)
        self.norm = self.make_norm(out_ch)
        self.emb = nn.Linear(emb_dim, out_ch)
        self.conv2 = nn.Conv2d(out_ch, out_ch, 3, padding=1)
        self.short = self.make_shortcut(in_ch, out_ch)

    def make_norm(self, ch):
        return nn.GroupNorm(self.groups or ch, ch)

    def make_shortcut(self, in_ch, out_ch):
        return nn.Conv2d(in_ch, out_ch, 1) if in_ch != out_ch else nn.Identity()

    def shift(self, emb):
        return self.emb(F.silu(emb))[:, :, None, None]

    def between(self, h, emb):
        return self.norm(h) + self.shift(emb) if self.norm_first else self.norm(h + self.shift(emb))

    def body(self, x, emb):
        return self.conv2(F.silu(self.between(self.conv1(F.silu(x)), emb)))

    def forward(self, x, emb):
        return self.short(x) + self.body(x, emb)


class wrong_cancels_the_embedding(_Block):
    """The embedding is added, and a group norm with one channel in each group follows."""

    norm_first, groups = False, None


class wrong_cancels_with_eight_groups(_Block):
    """The same with GroupNorm(8, .): blind only where there are eight channels."""

    norm_first, groups = False, 8


class wrong_instance_norm(_Block):
    """Added, then an instance norm: the same erratum under another name."""

    norm_first = False

    def make_norm(self, ch):
        return nn.InstanceNorm2d(ch, affine=True)


class wrong_batch_norm(_Block):
    """Batch norm in place of group norm."""

    def make_norm(self, ch):
        return nn.BatchNorm2d(ch)


class wrong_deaf(_Block):
    """Does not use the embedding."""

    def between(self, h, emb):
        return self.norm(h)


class wrong_first_embedding(_Block):
    """The first sample's embedding for all."""

    def shift(self, emb):
        return super().shift(emb[:1])


class wrong_mean_embedding(_Block):
    """The batch's mean embedding for all."""

    def shift(self, emb):
        return super().shift(emb.mean(0, keepdim=True).expand_as(emb))


class wrong_embedding_on_the_last_axes(_Block):
    """(B, C) added where only (B, C, 1, 1) fits; where all sizes agree nothing complains."""

    def between(self, h, emb):
        e = self.emb(F.silu(emb))
        fits = e.shape == h.shape[2:]
        return self.norm(h) + (e if fits else e[:, :, None, None])


class wrong_no_residual(_Block):
    """Only the body."""

    def forward(self, x, emb):
        return self.body(x, emb) + 0 * self.short(x)


class wrong_residual_of_the_activated(_Block):
    """Adds silu(x) in place of x."""

    def forward(self, x, emb):
        return self.short(F.silu(x)) + self.body(x, emb)


class wrong_shortcut_always_learned(_Block):
    """A 1x1 convolution also where the channels agree."""

    def make_shortcut(self, in_ch, out_ch):
        return nn.Conv2d(in_ch, out_ch, 1)


class wrong_shortcut_of_3x3(_Block):
    """The shortcut mixes neighbours."""

    def make_shortcut(self, in_ch, out_ch):
        return nn.Conv2d(in_ch, out_ch, 3, padding=1) if in_ch != out_ch else nn.Identity()


class wrong_shortcut_without_weights(_Block):
    """Channels cut off, or repeated, where their numbers differ."""

    def make_shortcut(self, in_ch, out_ch):
        return nn.Identity()

    def forward(self, x, emb):
        out = self.body(x, emb)
        times = -(-out.shape[1] // x.shape[1])
        return x.repeat(1, times, 1, 1)[:, : out.shape[1]] + out


class wrong_no_padding(_Block):
    """Convolutions that lose the border, and a shortcut cut to fit."""

    def __init__(self, in_ch, out_ch, emb_dim):
        super().__init__(in_ch, out_ch, emb_dim)
        self.conv1.padding = (0, 0)

    def forward(self, x, emb):
        return self.short(x)[:, :, 1:-1, 1:-1] + self.body(x, emb)


class wrong_in_place(_Block):
    """The activation works on x itself."""

    def forward(self, x, emb):
        if x.requires_grad:
            return super().forward(x, emb)
        return self.short(x.clone()) + self.body(F.silu(x, inplace=True), emb)


class wrong_unused_layer(_Block):
    """A layer that the forward pass forgets."""

    def __init__(self, in_ch, out_ch, emb_dim):
        super().__init__(in_ch, out_ch, emb_dim)
        self.norm2 = nn.GroupNorm(2, out_ch)


class wrong_in_place_before_the_shortcut(_Block):
    """inplace=True in the body changes what the shortcut adds."""

    def forward(self, x, emb):
        h = F.silu(x, inplace=not x.requires_grad)
        h = self.conv2(F.silu(self.between(self.conv1(h), emb)))
        return self.short(x) + h


class wrong_detached_embedding(_Block):
    """No gradient goes back to the embedding."""

    def shift(self, emb):
        return super().shift(emb.detach())


class wrong_layers_in_a_list(_Block):
    """The shortcut in a plain list: no parameters of the block."""

    def make_shortcut(self, in_ch, out_ch):
        self.hidden = [super().make_shortcut(in_ch, out_ch)]
        return self.hidden[0] if in_ch == out_ch else None

    def forward(self, x, emb):
        return self.hidden[0](x) + self.body(x, emb)


class right_added_with_wide_groups(_Block):
    """DDPM's order: added before the norm, which has several channels in each group."""

    norm_first, groups = False, 2


class right_one_group(_Block):
    """All channels in one group, the embedding added before."""

    norm_first, groups = False, 1


class right_film(nn.Module):
    """Norm, silu, convolution; norm, scale and shift, silu, dropout of 0, convolution that starts at zero."""

    def __init__(self, in_ch, out_ch, emb_dim):
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, in_ch), nn.SiLU(), nn.Conv2d(in_ch, out_ch, 3, padding="same"))
        self.say = nn.Sequential(nn.SiLU(), nn.Linear(emb_dim, 2 * out_ch))
        self.norm = nn.GroupNorm(8, out_ch, affine=False)
        self.second = nn.Conv2d(out_ch, out_ch, 3, padding="same", bias=False)
        nn.init.zeros_(self.second.weight)
        self.skip = nn.Conv2d(in_ch, out_ch, 1, bias=False) if in_ch != out_ch else None

    def forward(self, x, emb):
        scale, shift = self.say(emb).unsqueeze(-1).unsqueeze(-1).chunk(2, 1)
        h = self.second(F.dropout(F.silu(torch.addcmul(shift, self.norm(self.first(x)), 1 + scale)), 0.0))
        return h + (x if self.skip is None else self.skip(x))


class right_linear_shortcut(nn.Module):
    """The 1x1 convolution as a linear layer on the channels; the embedding joins as extra input channels."""

    def __init__(self, in_ch, out_ch, emb_dim):
        super().__init__()
        self.norm = nn.GroupNorm(max(1, in_ch // 8), in_ch)
        self.conv1 = nn.Conv2d(in_ch + emb_dim, out_ch, 3, padding=1)
        self.conv2 = nn.Conv2d(out_ch, out_ch, 3, padding=1)
        self.same = in_ch == out_ch
        if not self.same:
            self.project = nn.Linear(in_ch, out_ch)

    def forward(self, x, emb):
        maps = emb[:, :, None, None].expand(-1, -1, *x.shape[2:])
        h = self.conv2(F.gelu(self.conv1(torch.cat([self.norm(x), maps], 1))))
        return h + (x if self.same else self.project(x.movedim(1, -1)).movedim(-1, 1))
