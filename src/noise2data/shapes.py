"""Captioned shapes: pictures drawn here, with a sentence for each, and a reader that names what it sees.

A scene is one of 6 shapes, in 5 colours and 2 sizes, at 5 places, before 3 backgrounds. Its picture is the
background b, a soft vertical gradient, under a flat shape of colour c:

    picture = b + a (c - b),        a = clamp(1/2 - d, 0, 1),                                   (1)

where d is the signed distance from the outline in pixels, so that `a` is the share of a pixel that lies inside
of a straight edge. The reader inverts (1): it finds b along the border, the c that leaves the least over, `a` by
projection on c - b, place and size as the centroid and area of `a`, and the shape by drawing each of them there.

Colours and backgrounds are at least 28 apart in CIELAB, for normal vision and for the three kinds of dichromacy
as simulated by Machado et al., "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009.

Attributes are (n, 5) int64: indices into SHAPES, COLOURS, SIZES, PLACES and BACKGROUNDS. Pictures are
(n, 3, size, size) float32 in [-1, 1], on the CPU whatever the generator's device.
"""

import functools
import itertools
import math
import re
from dataclasses import astuple, dataclass

import torch

SHAPES = ("circle", "square", "triangle", "star", "heart", "moon")
COLOURS = ("red", "yellow", "green", "blue", "pink")
SIZES = ("small", "large")
PLACES = ("left", "right", "top", "bottom", "centre")
BACKGROUNDS = ("white", "grey", "black")
ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "place": PLACES, "background": BACKGROUNDS}

# In sRGB; backgrounds at the top and at the bottom. The picture is the square [-1, 1]^2, with y upwards.
_COLOURS = ("B8201F", "FFC727", "2CCB85", "2563EB", "FF7FCB")
_BACKGROUNDS = (("FFFDF8", "F3EADA"), ("656A79", "4D515D"), ("171A38", "0A0B1C"))
_RADII = (0.27, 0.42)
_CENTRES = ((-0.36, 0.0), (0.36, 0.0), (0.0, 0.36), (0.0, -0.36), (0.0, 0.0))

# What jitter changes: each is uniform in +- this, in units of the square, of log radius and in radians of hue.
_JITTER_PLACE, _JITTER_SIZE, _JITTER_HUE = 0.04, 0.08, 0.08


@dataclass(frozen=True)
class Scene:
    """What is in a picture, in words. Raises ValueError for a word that the vocabulary does not have."""

    shape: str
    colour: str
    size: str
    place: str
    background: str

    def __post_init__(self) -> None:
        for name, words in ATTRIBUTES.items():
            if (word := getattr(self, name)) not in words:
                raise ValueError(f"{name} is {word!r}; expected one of {', '.join(words)}")

    @property
    def attributes(self) -> torch.Tensor:
        """The indices of the five words: (5,) int64."""
        return torch.tensor([ATTRIBUTES[name].index(getattr(self, name)) for name in ATTRIBUTES])


def scenes(split: str = "train") -> list[Scene]:
    """All scenes of a split in a fixed order: "train" (720), "held_out" (180) or "all" (900).

    Held out are the scenes whose indices of shape, colour and place sum to a multiple of 5. So each shape in each
    colour has one place where no training picture shows it, at any size and before any background, while every
    word and every pair of words occurs in training: what is new is the combination of three.
    Raises ValueError for another split.
    """
    if split not in ("train", "held_out", "all"):
        raise ValueError(f"split is {split!r}; expected 'train', 'held_out' or 'all'")
    every = [Scene(*words) for words in itertools.product(*ATTRIBUTES.values())]
    return [scene for scene in every if split == "all" or (split == "held_out") == _is_held_out(scene)]


def scene_of(attributes: torch.Tensor) -> Scene:
    """The scene with these five indices, (5,) int64. Raises ValueError for an index that is none, such as -1."""
    indices, words = attributes.tolist(), tuple(ATTRIBUTES.values())
    if attributes.shape != (5,) or not all(0 <= i < len(words[j]) for j, i in enumerate(indices)):
        raise ValueError(f"attributes is {indices}; expected an index for each of {', '.join(ATTRIBUTES)}")
    return Scene(*(words[j][i] for j, i in enumerate(indices)))


def _is_held_out(scene: Scene) -> bool:
    shape, colour, _, place, _ = scene.attributes.tolist()
    return bool((shape + colour + place) % 5 == 0)


# Words --------------------------------------------------------------------------------------------------------

_WHERE = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "centre": "in the centre",
}
_SENTENCES = (
    "A {size} {colour} {shape} {where} of a {background} background.",
    "The picture shows a {size} {colour} {shape} {where}, on {background}.",
    "There is a {size} {colour} {shape} {where}; the background is {background}.",
    "On a {background} background, {where}, you see a {size} {colour} {shape}.",
    "A {shape}, {size} and {colour}, {where} of a {background} picture.",
)


def caption(scene: Scene, generator: torch.Generator | None = None) -> str:
    """One English sentence that names all five attributes; one of five wordings if a generator is given."""
    i = 0 if generator is None else int(_uniform((1,), generator).item() * len(_SENTENCES))
    words = dict(zip(ATTRIBUTES, astuple(scene), strict=True))
    return _SENTENCES[i].format(where=_WHERE[scene.place], **words)


def vocabulary() -> list[str]:
    """All words that captions are made of, in lower case, sorted: what a tokenizer needs. At most 13 a caption."""
    texts = [re.sub(r"{\w+}", "", sentence) for sentence in _SENTENCES]
    texts += [*_WHERE.values(), *itertools.chain(*ATTRIBUTES.values())]
    return sorted(set(re.findall("[a-z]+", " ".join(texts).lower())))


# Drawing ------------------------------------------------------------------------------------------------------
#
# Each shape has radius about 1 and its centroid at the origin, and a distance that is exact near straight edges and
# arcs. x, y: (n, H, W). Returns the signed distance, negative inside, (n, H, W).


def _circle(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.hypot(x, y) - 0.98


def _square(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.86


def _triangle(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.maximum(math.sqrt(0.75) * x.abs() + y / 2, -y) - 0.64


def _star(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Ten equal edges, folded by symmetry into one, which runs from a tip to the notch next to it."""
    tip, notch, half = 1.28, 0.62, math.pi / 5
    angle = (torch.atan2(x, y).remainder(2 * half) - half).abs()  # 0 at a notch, half at a tip
    radius = torch.hypot(x, y)
    along, across = radius * angle.cos(), radius * angle.sin()
    dx, dy = tip * math.cos(half) - notch, tip * math.sin(half)
    return ((along - notch) * dy - across * dx) / math.hypot(dx, dy)


def _heart(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A square on its corner, and a disc over each of its two upper sides."""
    s = 0.86
    x, y = x.abs(), y + 0.3133 * s
    corner = (x + y.abs() - s) / math.sqrt(2)
    return torch.minimum(corner, torch.hypot(x - s / 2, y - s / 2) - s / math.sqrt(2))


def _moon(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A disc out of which another disc is cut."""
    x, y = x - 0.3517, y - 0.1392
    return torch.maximum(torch.hypot(x, y) - 1.04, 0.8 - torch.hypot(x - 0.48, y - 0.19))


_DISTANCES = (_circle, _square, _triangle, _star, _heart, _moon)


def _pixels(size: int) -> torch.Tensor:
    """Where the centres of pixels are, in [-1, 1]: (size,)."""
    return (torch.arange(size) + 0.5) * 2 / size - 1


def _coverage(k: int, centre: torch.Tensor, radius: torch.Tensor, size: int) -> torch.Tensor:
    """`a` of equation (1) for shape k. centre: (n, 2). radius: (n,). Returns (n, size, size)."""
    at = _pixels(size)
    radius = radius[:, None, None]
    x = (at - centre[:, 0, None, None]) / radius
    y = (-at[:, None] - centre[:, 1, None, None]) / radius
    distance = _DISTANCES[k](x.expand(-1, size, size), y.expand(-1, size, size))
    return (0.5 - distance * radius * size / 2).clamp(0, 1)


@functools.cache
def _areas() -> tuple[float, ...]:
    """The area of each shape at radius 1."""
    centre, radius = torch.zeros(1, 2), torch.full((1,), 0.5)
    return tuple(_coverage(k, centre, radius, 512).mean().item() * 4 / 0.5**2 for k in range(len(SHAPES)))


def _rgb(code: str) -> list[float]:
    return [int(code[i : i + 2], 16) / 127.5 - 1 for i in (0, 2, 4)]


def _colours() -> torch.Tensor:
    """The colours of shapes: (5, 3)."""
    return torch.tensor([_rgb(code) for code in _COLOURS])


def _backgrounds(size: int) -> torch.Tensor:
    """The empty backgrounds: (3, 3, size, 1), background by channel by row."""
    top, bottom = (torch.tensor([_rgb(pair[i]) for pair in _BACKGROUNDS])[:, :, None, None] for i in (0, 1))
    return top + (bottom - top) * (_pixels(size)[:, None] + 1) / 2


def _uniform(shape: tuple[int, ...], generator: torch.Generator | None) -> torch.Tensor:
    device = generator.device if generator is not None else None
    return torch.rand(shape, generator=generator, device=device).cpu()


def _jitter(n: int, generator: torch.Generator | None) -> torch.Tensor:
    """(n, 4): by how much x, y, log radius and hue differ from the scene's."""
    most = torch.tensor([_JITTER_PLACE, _JITTER_PLACE, _JITTER_SIZE, _JITTER_HUE])
    return (2 * _uniform((n, 4), generator) - 1) * most


def _turn_hue(colours: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotate colours (n, 3) by angles (n,) about the axis of greys: Rodrigues' formula."""
    grey = colours.mean(1, keepdim=True)
    turned = (colours.roll(1, 1) - colours.roll(-1, 1)) / math.sqrt(3)
    return grey + (colours - grey) * angle.cos()[:, None] + turned * angle.sin()[:, None]


def _render(attributes: torch.Tensor, size: int, jitter: torch.Tensor) -> torch.Tensor:
    """Pictures of attributes (n, 5), changed by jitter (n, 4): (n, 3, size, size)."""
    if not isinstance(size, int) or size < 8:
        raise ValueError(f"size is {size!r}; expected a whole number >= 8")
    shape, colour, radius, place, background = attributes.unbind(1)
    centres = torch.tensor(_CENTRES)[place] + jitter[:, :2]
    radii = torch.tensor(_RADII)[radius] * jitter[:, 2].exp()
    colours = _turn_hue(_colours()[colour], jitter[:, 3]).clamp(-1, 1)
    a = torch.empty(len(attributes), 1, size, size)
    for k in range(len(SHAPES)):
        which = (shape == k).nonzero()[:, 0]
        a[which, 0] = _coverage(k, centres[which], radii[which], size)
    b = _backgrounds(size)[background]
    return b + a * (colours[:, :, None, None] - b)


def draw(scene: Scene, size: int = 64, generator: torch.Generator | None = None) -> torch.Tensor:
    """The picture of a scene: (3, size, size) float32 in [-1, 1].

    With a generator, place, size and hue are a little off, at random. Raises ValueError for a size below 8.
    """
    jitter = torch.zeros(1, 4) if generator is None else _jitter(1, generator)
    return _render(scene.attributes[None], size, jitter)[0]


def captioned_shapes(
    n: int, size: int = 64, split: str = "train", generator: torch.Generator | None = None
) -> tuple[torch.Tensor, list[str], torch.Tensor]:
    """n random scenes of a split, drawn with jitter: (images, captions, attributes).

    images: (n, 3, size, size) float32 in [-1, 1]. captions: n sentences. attributes: (n, 5) int64.
    Raises ValueError for n < 1, a size below 8 and an unknown split.
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n is {n!r}; expected a whole number >= 1")
    pool = scenes(split)
    which = (_uniform((n,), generator) * len(pool)).long()
    attributes = torch.stack([scene.attributes for scene in pool])[which]
    wording = generator if generator is not None else torch.default_generator
    captions = [caption(pool[i], wording) for i in which.tolist()]
    return _render(attributes, size, _jitter(n, generator)), captions, attributes


# Reading ------------------------------------------------------------------------------------------------------

_BORDER_TOLERANCE = 0.4  # how far border pixels may be, root mean square, from the background that is read
_LEAST_AREA = 0.012  # the share of the picture that a shape must cover, half of what the smallest does
_COLOUR_SHARE, _SHAPE_SHARE = 0.8, 0.88  # how much of what differs from the background they must explain
_PLACE_TOLERANCE, _SIZE_TOLERANCE = 0.15, 0.2  # in units of the square and of log radius


def read(images: torch.Tensor) -> torch.Tensor:
    """Name what is in pictures: attributes (n, 5) int64, -1 for what cannot be read.

    images: (n, 3, size, size) floats as `draw` makes them. Noise, or a background that is none of ours, gives -1
    throughout; an empty background is read as that and nothing else; two objects, or an outline far from all of ours,
    have no shape, size and place; a shape that is half-way between two places or two sizes is in neither. A simple
    outline near to one of ours is read as that one (a hexagon is a circle).
    Raises ValueError for another shape or dtype.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or images.shape[2] < 8:
        raise ValueError(f"images has shape {tuple(images.shape)}; expected (n, 3, size, size), size >= 8")
    if not images.is_floating_point():
        raise ValueError(f"images is a tensor of {images.dtype}; expected floats in [-1, 1]")
    x = images.detach().float().cpu()
    chunks = [_read(x[i : i + 128]) for i in range(0, max(len(x), 1), 128)]  # small enough for the caches
    return torch.cat(chunks).to(images.device)


def _read(images: torch.Tensor) -> torch.Tensor:
    n, _, full, _ = images.shape
    size = min(full, 32)  # 32 pixels tell all words apart; averages over more of them carry less noise
    at, row = _pixels(size), torch.arange(n)

    # The background: the nearest along the border, moved to the border's median.
    border = torch.maximum(_pixels(full).abs(), _pixels(full).abs()[:, None]) > 1 - 4 / size
    off = (images[:, None] - _backgrounds(full))[..., border]  # (n, background, 3, pixels)
    distance, background = off.square().mean((2, 3)).sqrt().min(1)
    off = off[row, background]
    shift = off.median(2, keepdim=True).values
    b = _backgrounds(size)[background] + shift[..., None]
    noise = (off - shift).square().mean((1, 2)) * (size / full) ** 2

    # The colour: that with which equation (1) leaves the least over, after a blur over 3 x 3 pixels.
    differs = torch.nn.functional.adaptive_avg_pool2d(images, size) - b
    soft = _blur(differs)
    energy = (soft.square().sum((1, 2, 3)) - noise / 9 * 3 * size**2).clamp(min=1e-6)
    u = _colours()[:, :, None, None] - b[:, None]  # (n, colour, 3, size, 1)
    a = ((soft[:, None] * u).sum(2) / u.square().sum(2)).clamp(0, 1)
    model = a[:, :, None] * u
    gain, colour = (2 * soft[:, None] * model - model.square()).sum((2, 3, 4)).max(1)  # |soft|^2 - |soft - model|^2
    colour_share = gain / energy
    core, u = a[row, colour] > 0.5, u[row, colour]

    # Place and size: centroid and area of what has that colour, next to where the blurred picture has it.
    near = torch.nn.functional.max_pool2d(core.float()[:, None], 5, 1, 2)[:, 0]
    a = (differs * u).sum(1) / u.square().sum(1) * near  # (n, size, size)
    mass = a.sum((1, 2)).clamp(min=1e-6)
    centre = torch.stack([(a * at).sum((1, 2)), -(a * at[:, None]).sum((1, 2))], 1) / mass[:, None]
    radii = torch.sqrt(4 * mass[:, None] / size**2 / torch.tensor(_areas()))  # (n, shape)
    there = mass / size**2 > _LEAST_AREA

    # The shape: each is drawn there, and that one stays which leaves the least over.
    drawn = torch.stack([_coverage(k, centre, radii[:, k], size) for k in range(len(SHAPES))], 1)
    shape = (2 * a[:, None] * drawn - drawn.square()).sum((2, 3)).argmax(1)
    model = _blur(drawn[row, shape, None] * u)
    shape_share = (2 * soft * model - model.square()).sum((1, 2, 3)) / energy
    size_off, size_word = (radii[row, shape, None] / torch.tensor(_RADII)).log().abs().min(1)
    place_off, place = torch.cdist(centre, torch.tensor(_CENTRES)).min(1)

    seen = distance < _BORDER_TOLERANCE
    coloured = seen & there & (colour_share > _COLOUR_SHARE)
    shaped = coloured & (shape_share > _SHAPE_SHARE)
    sized, placed = shaped & (size_off < _SIZE_TOLERANCE), shaped & (place_off < _PLACE_TOLERANCE)
    words = torch.stack([shape, colour, size_word, place, background], 1)
    return torch.where(torch.stack([shaped, coloured, sized, placed, seen], 1), words, -1)


def _blur(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)


def prompt_accuracy(images: torch.Tensor, attributes: torch.Tensor) -> dict[str, float]:
    """The share of pictures in which `read` finds what was asked for: by attribute, and "all" five together.

    images: (n, 3, size, size). attributes: (n, 5) int64, what the prompts said; a -1 asks for nothing.
    Raises ValueError if there are no pictures or the shapes do not fit.
    """
    if attributes.shape != (len(images), len(ATTRIBUTES)) or len(images) == 0:
        raise ValueError(
            f"attributes has shape {tuple(attributes.shape)}; expected five for each of the {len(images)} images"
        )
    right = (read(images) == attributes) | (attributes < 0)
    return {name: right[:, i].float().mean().item() for i, name in enumerate(ATTRIBUTES)} | {
        "all": right.all(1).float().mean().item()
    }
