"""Captioned shapes: the drawings against geometry, the split, the sentences, and how often the reader is right."""

import itertools
import math
import re
from dataclasses import FrozenInstanceError, astuple, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise2data import shapes
from noise2data.shapes import ATTRIBUTES, Scene

STAR = Scene("star", "yellow", "large", "centre", "black")
SCENES = st.builds(Scene, *(st.sampled_from(words) for words in ATTRIBUTES.values()))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noisy(images, std, seed=9):
    return images + std * torch.randn(images.shape, generator=generator(seed))


# Scenes -------------------------------------------------------------------------------------------------------


def test_a_scene_is_five_words_of_the_vocabulary():
    assert STAR.attributes.tolist() == [3, 1, 1, 4, 2] and STAR.attributes.dtype == torch.int64
    with pytest.raises(FrozenInstanceError):
        STAR.shape = "moon"
    for name, words in ATTRIBUTES.items():
        with pytest.raises(ValueError, match=f"{name} is 'huge'; expected one of {', '.join(words)}"):
            replace(STAR, **{name: "huge"})


def test_words_and_indices_are_the_same_scene():
    every = shapes.scenes("all")
    assert len(set(every)) == 900 and all(shapes.scene_of(scene.attributes) == scene for scene in every)
    for bad in ([0, 0, 0, 0, -1], [9, 0, 0, 0, 0], [-2, 0, 0, 0, 0], [0, 0, 0, 0]):
        with pytest.raises(ValueError, match=re.escape(f"attributes is {bad}; expected an index for each of shape")):
            shapes.scene_of(torch.tensor(bad))


def test_what_is_held_out_is_new_only_as_a_combination_of_three():
    train, held_out = shapes.scenes(), shapes.scenes("held_out")
    assert len(train) == 720 and len(held_out) == 180
    assert set(train) | set(held_out) == set(shapes.scenes("all")) and not set(train) & set(held_out)
    for i, j in itertools.combinations(range(5), 2):  # each pair, and with it each word, occurs in training
        seen = {(astuple(scene)[i], astuple(scene)[j]) for scene in train}
        assert len(seen) == len(list(ATTRIBUTES.values())[i]) * len(list(ATTRIBUTES.values())[j])
    triples = {(scene.shape, scene.colour, scene.place) for scene in held_out}
    assert len(triples) == 30 and not triples & {(scene.shape, scene.colour, scene.place) for scene in train}
    assert len({(shape, colour) for shape, colour, _ in triples}) == 30  # one place for each shape in each colour
    with pytest.raises(ValueError, match="split is 'test'; expected 'train', 'held_out' or 'all'"):
        shapes.scenes("test")


# Sentences ----------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(scene=SCENES, seed=st.integers(0, 1000))
def test_captions_name_all_five_attributes(scene, seed):
    for text in (shapes.caption(scene), shapes.caption(scene, generator(seed))):
        words = re.findall("[a-z0-9]+", text.lower())
        for name, value in zip(ATTRIBUTES, astuple(scene), strict=True):
            assert [word for word in words if word in ATTRIBUTES[name]] == [value]
        assert len(words) <= 13 and set(words) <= set(shapes.vocabulary())
        assert text[0].isupper() and text.endswith(".") and "{" not in text


def test_captions_have_five_wordings():
    assert shapes.caption(STAR) == "A large yellow star in the centre of a black background."
    draws = generator()
    assert len({shapes.caption(STAR, draws) for _ in range(200)}) == 5
    vocabulary = shapes.vocabulary()
    assert vocabulary == sorted(set(vocabulary)) and "star" in vocabulary and len(vocabulary) == 35
    spoken = " ".join(shapes.caption(scene, draws) for scene in shapes.scenes("all")).lower()
    assert set(vocabulary) == set(re.findall("[a-z0-9]+", spoken))


# Drawings -----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(scene=SCENES, size=st.integers(8, 80))
def test_pictures_have_the_size_asked_for_and_values_in_range(scene, size):
    plain, jittered = shapes.draw(scene, size), shapes.draw(scene, size, generator())
    for image in (plain, jittered):
        assert image.shape == (3, size, size) and image.dtype == torch.float32
        assert image.min() >= -1 and image.max() <= 1
    assert torch.equal(plain, shapes.draw(scene, size)) and not torch.equal(plain, jittered)
    assert torch.equal(jittered, shapes.draw(scene, size, generator()))


@pytest.mark.parametrize("size", [7, 32.0, "large"])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ValueError, match=f"size is {size!r}; expected a whole number >= 8"):
        shapes.draw(STAR, size)


def moon_area(outer, inner, apart):
    """A disc less its intersection with another: the lens of two circles."""
    a = inner**2 * math.acos((apart**2 + inner**2 - outer**2) / (2 * apart * inner))
    b = outer**2 * math.acos((apart**2 + outer**2 - inner**2) / (2 * apart * outer))
    kite = math.prod([inner + outer - apart, apart + inner - outer, apart - inner + outer, apart + inner + outer])
    return math.pi * outer**2 - (a + b - math.sqrt(kite) / 2)


AREAS = {
    "circle": math.pi * 0.98**2,
    "square": 4 * 0.86**2,
    "triangle": math.sqrt(27) * 0.64**2,  # of inner radius 0.64
    "star": 10 * 1.28 * 0.62 * math.sin(math.pi / 5) / 2,
    "heart": 0.86**2 * (2 + math.pi / 2),
    "moon": moon_area(1.04, 0.8, math.hypot(0.48, 0.19)),
}


@pytest.mark.parametrize("size", [32, 64, 200])
@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_shapes_have_their_area_and_their_centroid_at_their_place(shape, size):
    """Coverage is read off the red channel. Anti-aliasing changes areas by a fraction of a pixel's width."""
    for place, centre in zip(shapes.PLACES, shapes._CENTRES, strict=True):
        for word, radius in zip(shapes.SIZES, shapes._RADII, strict=True):
            picture = shapes.draw(Scene(shape, "yellow", word, place, "black"), size)[0]
            empty = shapes._backgrounds(size)[2, 0]
            a = (picture - empty) / (1 - empty)  # yellow is full red
            at = (torch.arange(size) + 0.5) * 2 / size - 1
            area = a.mean().item() * 4
            assert area == pytest.approx(AREAS[shape] * radius**2, rel=1.2 / size)
            middle = (a * at).sum() / a.sum(), -(a * at[:, None]).sum() / a.sum()
            assert math.dist(middle, centre) < 0.4 / size
            edge = torch.cat([a[0], a[-1], a[:, 0], a[:, -1]])
            assert edge.max() < 1e-6  # nothing is cut off


def test_small_pictures_are_averages_of_large_ones():
    """Analytic anti-aliasing against 8 x 8 samples a pixel. Only tips differ, where no edge is straight."""
    scenes = shapes.scenes("all")[::7]
    small, large = (torch.stack([shapes.draw(scene, size) for scene in scenes]) for size in (32, 256))
    off = (small - torch.nn.functional.avg_pool2d(large, 8)).abs()
    assert off.mean() < 0.002 and off.flatten()[::7].quantile(0.99) < 0.06  # of a range of 2


def test_jitter_is_small_and_changes_place_size_and_hue():
    """Pictures are drawn at the jittered scene: the mean of the jitter is 0 (six standard errors, rate 2e-9)."""
    jitter = shapes._jitter(4000, generator())
    most = torch.tensor([0.04, 0.04, 0.08, 0.08])
    assert (jitter.abs() <= most).all() and (jitter.abs().amax(0) > 0.99 * most).all()
    assert (jitter.mean(0).abs() < 6 * most / math.sqrt(3 * 4000)).all()
    rows = STAR.attributes.expand(4, 5)
    plain = shapes.draw(STAR)
    for picture in shapes._render(rows, 64, torch.diag(most)):
        assert 0.005 < (picture - plain).abs().mean() < 0.2


def test_colours_are_told_apart_by_colour_blind_readers():
    """Distances in CIELAB (D65), seen normally and through Machado et al.'s matrices of full severity."""
    seen = {
        "normal": np.eye(3),
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ],
        "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    }
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    )

    def lab(linear):
        x, y, z = np.cbrt((to_xyz @ linear) / to_xyz.sum(1))  # none is dark enough for the linear part to matter
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    colours = shapes._colours().numpy()
    backgrounds = shapes._backgrounds(64).mean((2, 3)).numpy()
    for matrix in seen.values():
        srgb = (np.concatenate([colours, backgrounds]) + 1) / 2
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        points = [lab(np.clip(np.array(matrix) @ row, 0, 1)) for row in linear]
        assert min(math.dist(a, b) for a, b in itertools.combinations(points, 2)) >= 28


def test_many_captioned_shapes_at_once():
    state = torch.get_rng_state()
    images, captions, attributes = shapes.captioned_shapes(400, 32, "held_out", generator())
    assert images.shape == (400, 3, 32, 32) and images.dtype == torch.float32
    assert attributes.shape == (400, 5) and attributes.dtype == torch.int64 and len(captions) == 400
    held_out = set(shapes.scenes("held_out"))
    for text, row in zip(captions, attributes, strict=True):
        scene = shapes.scene_of(row)
        assert scene in held_out and all(word in re.findall(r"\w+", text.lower()) for word in astuple(scene))
    again = shapes.captioned_shapes(400, 32, "held_out", generator())
    assert torch.equal(images, again[0]) and captions == again[1] and torch.equal(attributes, again[2])
    assert not torch.equal(attributes, shapes.captioned_shapes(400, 32, "held_out", generator(1))[2])
    assert torch.equal(state, torch.get_rng_state())
    images, captions, attributes = shapes.captioned_shapes(2)
    assert images.shape == (2, 3, 64, 64) and len(captions) == len(attributes) == 2
    for n in (0, 2.5):
        with pytest.raises(ValueError, match=f"n is {n}; expected a whole number >= 1"):
            shapes.captioned_shapes(n)


# Reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [24, 32, 48, 64, 100])
def test_all_scenes_are_read_right(size):
    scenes = shapes.scenes("all")[:: 1 if size == 64 else 3]
    images = torch.stack([shapes.draw(scene, size) for scene in scenes])
    attributes = torch.stack([scene.attributes for scene in scenes])
    assert torch.equal(shapes.read(images), attributes)


@pytest.mark.parametrize("size", [32, 64])
def test_jittered_drawings_are_read_right_and_noise_costs_little(size):
    """The least share of pictures with all five right, at each standard deviation of added noise."""
    images, _, attributes = shapes.captioned_shapes(1000, size, "all", generator())
    for std, least in ((0.0, 0.999), (0.1, 0.999), (0.2, 0.98 if size == 32 else 0.999)):
        read = shapes.read(noisy(images, std))
        assert (read == attributes).all(1).float().mean() >= least
        assert ((read != attributes) & (read >= 0)).any(1).float().mean() <= 0.001  # what it does not see, it says


@pytest.mark.parametrize("size", [32, 64, 128])
def test_nothing_is_read_in_noise_and_only_the_background_where_nothing_is_on_it(size):
    shape = (60, 3, size, size)
    uniform = 2 * torch.rand(shape, generator=generator()) - 1
    for picture in (torch.randn(shape, generator=generator()), uniform, torch.full(shape, math.nan)):
        assert (shapes.read(picture) == -1).all()
    empty = shapes._backgrounds(size).expand(-1, -1, -1, size)
    for std in (0.0, 0.1, 0.2):
        read = shapes.read(noisy(empty, std).repeat(10, 1, 1, 1))
        assert (read[:, :4] == -1).all() and read[:, 4].tolist() == [0, 1, 2] * 10


def paste(size, *parts, background=0):
    """A background with parts (coverage (size, size), colour) on it: (1, 3, size, size)."""
    picture = shapes._backgrounds(size)[background].expand(-1, -1, size)
    for a, colour in parts:
        picture = picture + a * (shapes._colours()[shapes.COLOURS.index(colour)][:, None, None] - picture)
    return picture[None]


@pytest.mark.parametrize("size", [32, 64])
def test_what_is_no_scene_is_not_read_as_one(size):
    at = (torch.arange(size) + 0.5) * 2 / size - 1
    x, y = at[None].expand(size, -1), -at[:, None].expand(-1, size)

    def disc(cx, cy, radius=0.25):
        return (torch.hypot(x - cx, y - cy) < radius).float()

    ring = disc(0, 0, 0.43) - disc(0, 0, 0.23)
    bar = ((x.abs() < 0.6) & (y.abs() < 0.2)).float()
    for picture in (
        paste(size, (ring, "red")),
        paste(size, (bar, "red")),
        paste(size, (disc(-0.4, 0), "red"), (disc(0.4, 0), "red")),
    ):
        assert shapes.read(picture)[0].tolist() == [-1, 0, -1, -1, 0]
    two_colours = paste(size, (disc(-0.4, 0), "green"), (disc(0.4, 0), "blue"), background=1)
    assert shapes.read(two_colours)[0].tolist() == [-1, -1, -1, -1, 1]
    corner = paste(size, (disc(0.4, 0.4), "red"))
    assert shapes.read(corner)[0].tolist() == [0, 0, 0, -1, 0]
    between = paste(size, (disc(0, 0, 0.33), "green"))
    assert shapes.read(between)[0].tolist() == [0, 2, -1, 4, 0]
    strange = paste(size, (torch.ones(size, size), "green"), (disc(0, 0), "red"))
    assert (shapes.read(strange) == -1).all()


def test_pictures_a_little_off_in_brightness_or_out_of_range_are_read():
    images, _, attributes = shapes.captioned_shapes(300, 64, "all", generator())
    assert (shapes.read(images + 0.06) == attributes).all(1).float().mean() > 0.99
    assert (shapes.read(1.1 * images) == attributes).all(1).float().mean() > 0.99
    assert torch.equal(shapes.read(images.double()), attributes)


def test_reading_leaves_pictures_alone_and_takes_any_number_of_them():
    images, _, attributes = shapes.captioned_shapes(130, 32, "all", generator())
    kept = images.clone().requires_grad_()
    assert torch.equal(shapes.read(kept), attributes) and torch.equal(kept, images)
    assert shapes.read(images[:0]).shape == (0, 5)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 3, 32, 40), (2, 3, 4, 4)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"images has shape {shape}; expected (n, 3, size, size)")):
        shapes.read(torch.zeros(shape))
    with pytest.raises(ValueError, match="images is a tensor of torch.uint8; expected floats"):
        shapes.read(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_prompt_accuracy_counts_each_attribute_and_all_together():
    images, _, attributes = shapes.captioned_shapes(40, 32, "all", generator())
    assert shapes.prompt_accuracy(images, attributes) == dict.fromkeys([*ATTRIBUTES, "all"], 1.0)
    asked = attributes.clone()
    asked[:10, 1] = (asked[:10, 1] + 1) % 5
    asked[5:20, 3] = (asked[5:20, 3] + 1) % 5
    want = {"shape": 1, "colour": 0.75, "size": 1, "place": 0.625, "background": 1, "all": 0.5}
    assert shapes.prompt_accuracy(images, asked) == pytest.approx(want)
    asked[:, 1] = -1  # the prompts name no colour
    assert shapes.prompt_accuracy(images, asked)["colour"] == 1
    images[:20] = torch.randn(20, 3, 32, 32, generator=generator())
    assert shapes.prompt_accuracy(images, attributes) == pytest.approx(dict.fromkeys([*ATTRIBUTES, "all"], 0.5))
    for bad in (attributes[:9], attributes[:, :4]):
        with pytest.raises(ValueError, match="attributes has shape .*; expected five for each of the 40 images"):
            shapes.prompt_accuracy(images, bad)
    with pytest.raises(ValueError, match="expected five for each of the 0 images"):
        shapes.prompt_accuracy(images[:0], attributes[:0])
