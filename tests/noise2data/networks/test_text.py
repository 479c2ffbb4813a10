"""Captions to ids by the tokenizer's definition, and to images by what a text encoder may and may not see."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise2data.denoiser import Denoiser
from noise2data.guidance import guided
from noise2data.networks.dit import DiT
from noise2data.networks.text import PAD, START, UNKNOWN, CaptionTokenizer, TextEncoder, TextToImage
from noise2data.paths import Linear

F64 = torch.float64
VOCAB = ["a", "red", "blue", "circle", "square", "on", "2"]


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filled(module, seed=0, std=0.3):
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, std, generator=generator)
    return module


# The tokenizer ------------------------------------------------------------------------------------------------------


def test_words_become_their_places():
    ids, mask = CaptionTokenizer(VOCAB, 8).encode(["A red CIRCLE, on blue!", "", "red-2 dogs"])
    assert ids.tolist() == [[2, 3, 4, 6, 8, 5, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0], [2, 4, 9, 1, 0, 0, 0, 0]]
    assert ids.dtype == torch.int64 and mask.dtype == torch.bool
    assert mask.sum(1).tolist() == [6, 1, 4]
    assert (PAD, UNKNOWN, START) == (0, 1, 2) and CaptionTokenizer(VOCAB, 8).size == 10


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(max_size=30), max_size=4), length=st.integers(1, 9))
def test_any_text_gives_rows_of_one_form(texts, length):
    """Start first, then what a search by hand finds, then padding and nothing but padding."""
    ids, mask = CaptionTokenizer(VOCAB, length).encode(texts)
    assert ids.shape == mask.shape == (len(texts), length)
    assert torch.equal(mask, ids != PAD) and (ids[:, 0] == START).all() and (ids[:, 1:] != START).all()
    for row, text in zip(ids.tolist(), texts, strict=True):
        cleaned = "".join(ch if "a" <= ch <= "z" or "0" <= ch <= "9" else " " for ch in text.lower())
        want = [VOCAB.index(word) + 3 if word in VOCAB else 1 for word in cleaned.split()][: length - 1]
        assert row == [START, *want, *[PAD] * (length - 1 - len(want))]


@settings(max_examples=50, deadline=None)
@given(words=st.lists(st.sampled_from(VOCAB), max_size=6), glue=st.sampled_from([" ", ", ", "-", "\n", "  é "]))
def test_case_and_punctuation_do_not_matter(words, glue):
    tokenizer = CaptionTokenizer(VOCAB, 8)
    plain, glued, loud = (
        tokenizer.encode([t])[0] for t in (" ".join(words), glue.join(words), " ".join(words).upper())
    )
    assert torch.equal(plain, glued) and torch.equal(plain, loud)


@pytest.mark.parametrize(
    ("vocab", "length", "message"),
    [
        (["a", "Red"], 4, "vocab contains 'Red'; expected words of lower-case"),
        (["two words"], 4, "vocab contains 'two words'"),
        ([""], 4, "vocab contains ''"),
        (["a", "b", "a"], 4, "vocab contains 'a' twice; expected distinct words"),
        ("red", 4, "vocab is 'red'; expected a sequence of words"),
        (["a"], 0, "length is 0; expected at least 1"),
    ],
)
def test_bad_tokenizers_are_named(vocab, length, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        CaptionTokenizer(vocab, length)


def test_one_string_is_not_a_list_of_captions():
    with pytest.raises(ValueError, match="texts is 'red'; expected a list of captions"):
        CaptionTokenizer(VOCAB, 4).encode("red")


# The encoder --------------------------------------------------------------------------------------------------------


def test_a_word_is_a_vector_of_unit_variance_and_padding_is_masked():
    ids = torch.tensor([[2, 3, 4, 0], [2, 5, 0, 0]])
    ctx, mask = filled(TextEncoder(10, 6, dim=8, heads=2))(ids)
    assert ctx.shape == (2, 4, 8) and torch.equal(mask, ids != 0)
    torch.testing.assert_close(ctx.var(2, correction=0), torch.ones(2, 4, dtype=F64), rtol=1e-3, atol=0)


def test_padding_changes_no_words_vector():
    """Nor does it matter how many rows there are, or what stands in another one."""
    encoder = filled(TextEncoder(10, 6, dim=8, heads=2))
    ids = torch.tensor([[2, 3, 4, 5, 6, 7], [2, 5, 8, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    ctx = encoder(ids)[0]
    assert ctx.isfinite().all()
    torch.testing.assert_close(ctx[1:2, :3], encoder(ids[1:2, :3])[0])
    torch.testing.assert_close(ctx[0:1], encoder(ids[0:1])[0])


def test_a_word_knows_its_neighbours_and_its_place():
    encoder = filled(TextEncoder(10, 6, dim=8, heads=2))
    ctx, swapped = (encoder(torch.tensor([row]))[0][0] for row in ([2, 3, 4, 5], [2, 4, 3, 5]))
    assert (ctx[3] - swapped[3]).abs().max() > 1e-3  # the same word in the same place, after others
    assert (ctx[1] - swapped[2]).abs().max() > 1e-3  # the same word in another place


def test_bad_ids_are_named():
    encoder = TextEncoder(10, 6, dim=8, heads=2)
    for ids in (torch.zeros(2, 7, dtype=torch.int64), torch.zeros(6, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"ids has shape .*expected \(B, M\), M at most 6"):
            encoder(ids)
    with pytest.raises(ValueError, match="heads is 3"):
        TextEncoder(10, 6, dim=8, heads=3)


# Text to image ------------------------------------------------------------------------------------------------------


def text_to_image():
    return filled(TextToImage(DiT(3, 4, dim=8, depth=2, heads=2, ctx_dim=12), TextEncoder(10, 6, dim=12, heads=2)))


def test_the_caption_decides_and_each_picture_has_its_own():
    net, x, c = text_to_image(), randn(3, 3, 4, 4), torch.tensor([0.2, 0.5, 0.8], dtype=F64)
    y, _ = CaptionTokenizer(VOCAB, 6).encode(["a red circle", "a blue circle", "2 red"])
    want = net(x, c, y)
    assert want.shape == x.shape
    torch.testing.assert_close(torch.cat([net(x[i : i + 1], c[i : i + 1], y[i : i + 1]) for i in range(3)]), want)
    assert (net(x, c, y.roll(1, 0)) - want).abs().amax((1, 2, 3)).min() > 1e-4


def test_padding_alone_is_the_null_caption():
    """The unconditional half of a guided batch is the network without captions; an empty caption has its start."""
    net, x, c = text_to_image(), randn(2, 3, 4, 4), torch.tensor([0.2, 0.8], dtype=F64)
    y, _ = CaptionTokenizer(VOCAB, 6).encode(["a red circle", ""])
    both = net(torch.cat([x, x]), torch.cat([c, c]), torch.cat([y, torch.full_like(y, PAD)]))
    torch.testing.assert_close(both, torch.cat([net(x, c, y), net(x, c)]))
    assert (net(x, c, y)[1] - net(x, c)[1]).abs().max() > 1e-4


def test_captions_are_guided_like_labels():
    """Classifier-free guidance with PAD for the null label, in one batched call and in two."""
    net, x, t = text_to_image(), randn(2, 3, 4, 4), torch.tensor([0.2, 0.8], dtype=F64)
    y, _ = CaptionTokenizer(VOCAB, 6).encode(["a red circle", "blue"])
    denoiser = Denoiser(net, Linear(), "velocity")
    uncond, cond = denoiser(x, t), denoiser(x, t, y)
    for null in (PAD, None):
        torch.testing.assert_close(guided(denoiser, 3.0, y, null=null)(x, t), uncond + 3 * (cond - uncond))
    assert (cond - uncond).abs().amax((1, 2, 3)).min() > 1e-4


def test_gradients_reach_the_embedding_of_the_words_that_stand_there():
    net, x, c = text_to_image(), randn(1, 3, 4, 4), torch.tensor([0.3], dtype=F64)
    net(x, c, torch.tensor([[2, 4, 6, 0, 0, 0]])).square().sum().backward()
    moved = net.encoder.embed.weight.grad.abs().amax(1) > 0
    assert moved.nonzero()[:, 0].tolist() == [2, 4, 6]
