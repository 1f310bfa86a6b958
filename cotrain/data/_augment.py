"""Augmentation of whole batches on their device: geometry in one pass, colour as one matrix, mixtures of noise.

Every image has draws of its own. They are one row of uniform numbers, always of the same length, so they depend on
the seed and on the image's place in the batch, not on the size of the batch, its device, or what else is switched on.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

import torch
from annotated_types import Ge, Gt, Le
from pydantic import field_validator, model_validator
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from cotrain.config import Config
from cotrain.data._jitter import Augmentation
from cotrain.errors import DataError
from cotrain.seeds import derive_seed

Factor = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]
Mixture = tuple[tuple[Positive, Share], ...]


class AugmentConfig(Config):
    """Images are shifted, mirrored, turned, zoomed, changed in colour and made noisy, each at random on its own.

    Geometry: an image is shifted, then mirrored, then turned and zoomed about its centre, all in one pass. With shifts
    and mirroring alone, pixels are moved and no value changes; turning and zooming interpolate bilinearly.
    Colour comes before geometry, noise last: it is added to what the network sees, also to the edges.

    Example: AugmentConfig(shift=4, mirror=True, rotation=15, noise=((0.08, 0.1), (0.12, 0.1))) leaves 8 images of 10
    without noise.
    """

    kind: ClassVar[str] = "cotrain.data.augment"
    shift: Annotated[int, Ge(0)] = 0  # pixels along each axis, as a random crop with this padding
    mirror: bool = False  # left to right, in half of the cases: for objects, never for receptive fields
    rotation: Annotated[float, Ge(0), Le(180)] = 0.0  # degrees, at most, either way
    scale: tuple[Positive, Positive] = (1.0, 1.0)  # smallest and largest zoom; 2 shows things twice as large
    edges: Literal["zeros", "repeat"] = "zeros"  # what is seen beyond the image: black, or its outermost pixels
    brightness: Factor = 0.0  # b: pixels times a factor from max(0, 1 - b) to 1 + b
    contrast: Factor = 0.0  # likewise, of differences to the image's mean luma
    saturation: Factor = 0.0  # likewise, of differences to the pixel's luma
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0  # of a full turn about the grey axis, at most, either way
    grey: Share = 0.0  # share of the images that lose their colour, and keep three channels
    noise: Mixture = ()  # (standard deviation, share of the images): Gaussian, in units of the range 0..1
    noise_snr: Mixture = ()  # (signal to noise ratio, share): the signal's power is the variance of the image's pixels

    @field_validator("scale")
    @classmethod
    def _in_order(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("expected the smallest zoom, then the largest")
        return scale

    @model_validator(mode="after")
    def _fits(self) -> Self:
        shares = math.fsum(share for _, share in (*self.noise, *self.noise_snr))
        if shares > 1 + 1e-9:  # ten times 0.1 is 1
            raise ValueError(f"noise and noise_snr: the shares must sum to 1 or less (the rest is clean), not {shares}")
        return self


def augment(config: AugmentConfig) -> Augmentation:
    """The augmentation of a config.

    It takes images (images, channels, height, width) as uint8, or as floats in 0..1. Where pixels are only moved
    (shift, mirror), it gives the same type, otherwise float32 in 0..1; the model normalises. With nothing switched on
    it returns what it is given. Equal seeds give equal draws on every device; the single values of the noise are equal
    on devices of one type.

    Raises (when called):
        DataError: These are no images, or grey ones although the config varies their colour.
    """
    colours = config.brightness > 0 or config.contrast > 0 or _of_colour(config) != ""
    moves = config.shift > 0 or config.mirror
    turns = config.rotation > 0 or config.scale != (1.0, 1.0)
    noises = bool(config.noise or config.noise_snr)

    @torch.no_grad()
    def apply(images: Tensor, seed: int) -> Tensor:
        _check(config, images)
        draws = _Draws(seed, len(images))
        if colours:
            images = _coloured(config, images, draws)
        if turns:
            images = _turned(config, _unit(images), draws)
        elif moves:
            images = _moved(config, images, draws)
        return _noisy(config, _unit(images), draws, seed) if noises else images

    return apply


class _Draws:
    """For each image one row of numbers in 0..1; each use has its own column, whether it is switched on or not."""

    COLUMNS = (
        *("down", "right", "mirror", "rotation", "scale"),
        *("brightness", "contrast", "saturation", "hue", "grey", "noise"),
    )
    ROW = 16  # numbers an image: some are left, so that a new use changes no draw of the old ones

    def __init__(self, seed: int, count: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.rand(count, self.ROW, generator=generator, dtype=torch.float64)
        self.columns: dict[str, Tensor] = dict(zip(self.COLUMNS, rows.t().contiguous(), strict=False))

    def unit(self, name: str) -> Tensor:
        """Uniform in [0, 1): float64 (images,)."""
        return self.columns[name]

    def between(self, name: str, low: float, high: float) -> Tensor:
        """Uniform from low to high."""
        return low + (high - low) * self.unit(name)

    def factor(self, name: str, spread: float) -> Tensor:
        """Uniform around 1, never below 0."""
        return self.between(name, max(0.0, 1 - spread), 1 + spread)

    def whole(self, name: str, most: int) -> Tensor:
        """Whole numbers from -most to most, each as often: int64 (images,)."""
        return (self.unit(name) * (2 * most + 1)).long().clamp_(max=2 * most) - most

    def happens(self, name: str, share: float) -> Tensor:
        """True for this share of the images: bool (images,)."""
        return self.unit(name) < share


def _of_colour(config: AugmentConfig) -> str:
    """The fields that are switched on and need colour images, as text."""
    return ", ".join(name for name in ("saturation", "hue", "grey") if getattr(config, name) > 0)


def _check(config: AugmentConfig, images: Tensor) -> None:
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise DataError(
            "augment: expected images (images, channels, height, width) as uint8, or as floats in 0..1, found "
            f"{tuple(images.shape)} as {images.dtype}."
        )
    channels = images.shape[1]
    if channels == 1 and (unused := _of_colour(config)):
        raise DataError(f"augment: images of one channel have no colour to vary: leave out {unused}.")
    if channels not in (1, 3) and (config.contrast > 0 or _of_colour(config)):
        raise DataError(f"augment: luma is that of images with 1 or 3 channels, found {channels}.")


def _unit(images: Tensor) -> Tensor:
    """Float32 in 0..1."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)  # ITU-R BT.601, section 2.5.1
# I and Q of the NTSC signal (47 CFR 73.682 of 1953), as sums of red, green and blue: 0.74 (R - Y) - 0.27 (B - Y), and
# 0.48 (R - Y) + 0.41 (B - Y)
YIQ = torch.stack(
    [
        LUMA,
        torch.tensor([0.74, 0.0, -0.27], dtype=torch.float64) - 0.47 * LUMA,
        torch.tensor([0.48, 0.0, 0.41], dtype=torch.float64) - 0.89 * LUMA,
    ]
)
TO_GREY = LUMA.expand(3, 3)  # every channel becomes the luma
# A quarter of a turn about the grey axis, of the chroma alone: red goes towards yellow, as hue grows in HSV
QUARTER = torch.linalg.inv(YIQ) @ torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64) @ YIQ


def _coloured(config: AugmentConfig, images: Tensor, draws: _Draws) -> Tensor:
    """Brightness b, contrast c, saturation s and hue h as one linear map of each image, then clamped to 0..1.

    With L the luma, C the chroma (the rest), J a quarter turn of it and m the image's mean luma, the map is
    x -> b c (L + s cos(h) C + s sin(h) J) x + b (1 - c) m. So saturation and hue keep the luma, and the order of the
    four does not matter, but for clamping, which comes once.
    """
    count, channels, height, width = images.shape
    brightness = draws.factor("brightness", config.brightness)[:, None, None]
    contrast = draws.factor("contrast", config.contrast)[:, None, None]
    if channels != 3:
        matrix = torch.eye(channels, dtype=torch.float64)
    else:
        saturation = draws.factor("saturation", config.saturation)
        saturation = torch.where(draws.happens("grey", config.grey), 0.0, saturation)[:, None, None]
        angle = 2 * math.pi * draws.between("hue", -config.hue, config.hue)[:, None, None]
        chroma = torch.eye(3, dtype=torch.float64) - TO_GREY
        matrix = TO_GREY + saturation * (angle.cos() * chroma + angle.sin() * QUARTER)
    step = 1 / 255 if images.dtype == torch.uint8 else 1.0
    pixels = images.float().reshape(count, channels, height * width)
    matrix = (step * brightness * contrast * matrix).float().to(images.device)
    found = torch.bmm(matrix, pixels)
    if config.contrast > 0:
        luma = LUMA if channels == 3 else torch.ones(1, dtype=torch.float64)
        mean = pixels.mean(2, keepdim=True) * luma[:, None].float().to(images.device)
        found += mean.sum(1, keepdim=True) * (step * brightness * (1 - contrast)).float().to(images.device)
    return found.clamp_(0, 1).view(count, matrix.shape[1], height, width)


def _moved(config: AugmentConfig, images: Tensor, draws: _Draws) -> Tensor:
    """Shifts by whole pixels and mirroring, without interpolation.

    Each row of the result is a run of pixels in a padded image or in its mirror image. Whole rows are copied, from
    all the (overlapping) runs of that length: an index for each pixel would cost sixty times as much.
    """
    (count, channels, height, width), margin = images.shape, config.shift
    down, right = draws.whole("down", margin), draws.whole("right", margin)
    mirrored = draws.happens("mirror", 0.5 * config.mirror)
    padded = pad(images, (margin,) * 4)
    if config.edges == "repeat" and margin:
        padded[..., :margin, :] = padded[..., margin : margin + 1, :]
        padded[..., -margin:, :] = padded[..., -margin - 1 : -margin, :]
        padded[..., :margin] = padded[..., margin : margin + 1]
        padded[..., -margin:] = padded[..., -margin - 1 : -margin]
    if config.mirror:
        padded = torch.stack([padded, padded.flip(-1)])
    tall, wide = padded.shape[-2:]
    column = margin + torch.where(mirrored, -right, right)  # to the left before mirroring is to the right after it
    row = margin + down + tall * channels * (torch.arange(count) + count * mirrored)
    corner = (row * wide + column).to(images.device)[:, None, None]
    channel = torch.arange(channels, device=images.device)[:, None] * (tall * wide)
    start = corner + channel + torch.arange(height, device=images.device) * wide
    if start.numel() == 0:
        return images.clone()
    return padded.view(-1).unfold(0, width, 1).index_select(0, start.view(-1)).view(images.shape)


def _turned(config: AugmentConfig, images: Tensor, draws: _Draws) -> Tensor:
    """Shift, mirroring, rotation and zoom as one affine map, in pixels, so that a turned square is a square.

    The pixel of the result at (x, y) from the centre, y downwards, shows what stood at M (x, y) + shift.
    """
    count, _, height, width = images.shape
    angle = draws.between("rotation", -1, 1) * math.radians(config.rotation)  # counter-clockwise
    zoom = draws.between("scale", *config.scale)
    sign = 1 - 2 * draws.happens("mirror", 0.5 * config.mirror).double()
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    shift = [draws.whole(name, config.shift).double() for name in ("right", "down")]
    size = torch.tensor([width, height], dtype=torch.float64)
    # grid_sample counts in halves of the image: -1 and 1 are its outer edges
    place = torch.stack([sign * cos, sin, -sign * sin, cos, *shift], 1).view(count, 3, 2) * (2 / size)
    of_column, of_row, shifts = place.float().to(images.device).split(1, 1)
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    # pairs added as complex numbers: affine_grid's product of matrices takes twenty times as long
    columns = torch.view_as_complex((x[:, None] * of_column).contiguous())[:, None, :]
    rows = torch.view_as_complex((y[:, None] * of_row + shifts).contiguous())[:, :, None]
    grid = torch.view_as_real(columns + rows)
    beyond = "zeros" if config.edges == "zeros" else "border"
    return grid_sample(images, grid, mode="bilinear", padding_mode=beyond, align_corners=False)


def _noisy(config: AugmentConfig, images: Tensor, draws: _Draws, seed: int) -> Tensor:
    """Images (float32) of which some have Gaussian noise of one of the levels, clamped to 0..1.

    The variance of the noise is std ** 2, or that of the image's pixels divided by the signal to noise ratio.
    """
    levels = [(std**2, 0.0, share) for std, share in config.noise]
    levels += [(0.0, 1 / snr, share) for snr, share in config.noise_snr]
    fixed, relative, shares = torch.tensor([*levels, (0.0, 0.0, 0.0)], dtype=torch.float64).unbind(1)
    level = torch.bucketize(draws.unit("noise"), shares[:-1].cumsum(0), right=True)
    noisy = (level < len(levels)).nonzero()[:, 0]
    if len(noisy) == 0:
        return images
    level, place = level[noisy], noisy.to(images.device)
    chosen = images.index_select(0, place)
    variance = fixed[level].float().to(images.device)
    if config.noise_snr:
        variance = variance + chosen.var((1, 2, 3), correction=0) * relative[level].float().to(images.device)
    generator = torch.Generator(images.device).manual_seed(derive_seed(seed, "noise"))
    noise = torch.randn(chosen.shape, generator=generator, device=images.device)
    return images.index_copy(0, place, noise.mul_(variance.sqrt().view(-1, 1, 1, 1)).add_(chosen).clamp_(0, 1))
