"""The 15 corruptions of Hendrycks & Dietterich (ICLR 2019) for 32x32 images, at five severities, on tensors.

The parameters are those with which CIFAR-10-C was made; the images are not CIFAR-10-C. Its noise came from another
random stream, its motion blur from ImageMagick, its JPEG encoder was older, and the photographs behind its frost are
not here (`frost` is procedural). Results on these images must not be held against results published on CIFAR-10-C:
for those load `cifar10-c`.

Each corruption maps float64 pixels (N, 3, 32, 32) in 0..1 to new ones; `corrupt` clips to 0..1, scales by 255 and
truncates to bytes, as was done for CIFAR-10-C.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

SIDE = 32
CHUNK = 500
"""Images at a time: float64 pixels of this many take 12 MB. The random stream depends on it."""
GRAY = (0.299, 0.587, 0.114)
"""Luma of ITU-R BT.601."""

Corruption = Callable[[torch.Tensor, int, torch.Generator], torch.Tensor]


def corrupt(images: torch.Tensor, name: str, severity: int, seed: int = 0) -> torch.Tensor:
    """`images` uint8 (N, 3, 32, 32) under one of `NAMES` at severity 1..5, as uint8 (N, 3, 32, 32).

    Name, severity and seed choose the random stream. Raises ValueError for anything else.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1:] != (3, SIDE, SIDE):
        raise ValueError(f"images must be uint8 (N, 3, 32, 32), not {images.dtype} {tuple(images.shape)}")
    if name not in CORRUPTIONS:
        raise ValueError(f"no corruption '{name}': use one of {', '.join(NAMES)}")
    if severity not in (1, 2, 3, 4, 5):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, not {severity}")
    digest = hashlib.sha256(f"{name}-{severity}-{seed}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    parts = [
        _levels(CORRUPTIONS[name](chunk.double() / 255, severity - 1, generator).clamp(0, 1)).to(torch.uint8)
        for chunk in torch.split(images.cpu(), CHUNK)
    ]
    return torch.cat(parts).to(images.device)


def gaussian_noise(pixels: torch.Tensor, level: int, generator: torch.Generator) -> torch.Tensor:
    """Normal noise of one standard deviation on every channel of every pixel."""
    scale = (0.04, 0.06, 0.08, 0.09, 0.10)[level]
    return pixels + scale * torch.randn(pixels.shape, generator=generator, dtype=torch.float64)


def shot_noise(pixels: torch.Tensor, level: int, generator: torch.Generator) -> torch.Tensor:
    """Photon counting: Poisson counts with mean `photons` at white."""
    photons = (500, 250, 100, 75, 50)[level]
    return torch.poisson(pixels * photons, generator=generator) / photons


def impulse_noise(pixels: torch.Tensor, level: int, generator: torch.Generator) -> torch.Tensor:
    """A share of all values becomes 0 or 1, one as likely as the other (salt and pepper per channel)."""
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[level]
    hit = torch.rand(pixels.shape, generator=generator, dtype=torch.float64) <= share
    salt = torch.rand(pixels.shape, generator=generator, dtype=torch.float64) <= 0.5
    return torch.where(hit, salt.double(), pixels)


def defocus_blur(pixels: torch.Tensor, level: int, _generator: torch.Generator) -> torch.Tensor:
    """Convolution with a disk of radius r, itself smoothed by a 3x3 Gaussian; borders mirrored at pixel centres."""
    radius, smoothing = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[level]
    offsets = torch.arange(-2, 3, dtype=torch.float64)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).double()
    bell = torch.exp(-(torch.arange(-1, 2, dtype=torch.float64) ** 2) / (2 * smoothing**2))
    bell = torch.outer(bell, bell) / bell.sum() ** 2
    kernel = F.conv2d((disk / disk.sum())[None, None], bell[None, None], padding=1)[0, 0]
    padded, total = F.pad(pixels, (2, 2, 2, 2), mode="reflect"), torch.zeros_like(pixels)
    for down, right in kernel.nonzero().tolist():  # five times faster than conv2d on three channels
        total.add_(padded[:, :, down : down + SIDE, right : right + SIDE], alpha=float(kernel[down, right]))
    return total


def glass_blur(pixels: torch.Tensor, level: int, generator: torch.Generator) -> torch.Tensor:
    """Each pixel from the third row and column on is replaced by itself or its upper or left neighbour, between two
    Gaussian blurs.

    The code that made CIFAR-10-C means to swap the pixels, but its swap of NumPy views overwrites one with the other,
    and its order (bottom right first) only ever reads untouched ones: a gather with random offsets of -1 and 0.
    """

    from scipy import ndimage

    sigma, rounds = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[level]
    smooth = _matrix(ndimage.gaussian_filter1d(np.eye(SIDE), sigma, axis=0, mode="nearest"))
    pixels = _separable(smooth, pixels)
    pixels = _levels(pixels) / 255
    place = torch.arange(SIDE)
    for _ in range(rounds):
        back = torch.randint(0, 2, (2, len(pixels), SIDE, SIDE), generator=generator)
        back[:, :, :2] = 0
        back[:, :, :, :2] = 0
        pixels = _take(pixels, place[:, None] - back[0], place - back[1])
    return _separable(smooth, pixels)


def motion_blur(pixels: torch.Tensor, level: int, generator: torch.Generator) -> torch.Tensor:
    """A one-sided Gaussian streak within 45 degrees of horizontal, rounded to bytes."""
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[level]
    return _streak(pixels, radius, sigma, _angles(len(pixels), -45, 45, generator))


def zoom_blur(pixels: torch.Tensor, level: int, _generator: torch.Generator) -> torch.Tensor:
    """Mean of the image and its bilinear enlargements by 1, 1.01, 1.02, ..."""
    stop = (1.06, 1.11, 1.16, 1.21, 1.26)[level]
    factors = np.arange(1, stop, 0.01)
    total = pixels.clone()
    for factor in factors:
        total += _separable(_enlarge(float(factor)), pixels)
    return total / (len(factors) + 1)


def snow(pixels: torch.Tensor, level: int, generator: torch.Generator) -> torch.Tensor:
    """Thresholded, enlarged and streaked normal noise, added with its half turn to a whitened image."""
    mean, spread, zoom, threshold, radius, sigma, keep = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[level]
    noise = torch.randn((len(pixels), 1, SIDE, SIDE), generator=generator, dtype=torch.float64)
    flakes = _separable(_enlarge(zoom), mean + spread * noise)
    flakes = torch.where(flakes < threshold, 0, flakes).clamp(0, 1)
    flakes = _levels(flakes) / 255
    flakes = _streak(flakes, radius, sigma, _angles(len(pixels), -135, -45, generator))
    gray = (pixels * pixels.new_tensor(GRAY)[:, None, None]).sum(1, keepdim=True)
    whitened = keep * pixels + (1 - keep) * torch.maximum(pixels, 1.5 * gray + 0.5)
    return whitened + flakes + flakes.rot90(2, (2, 3))


def frost(pixels: torch.Tensor, level: int, generator: torch.Generator) -> torch.Tensor:
    """The image, dimmed, under a layer of frost.

    The weights are the published ones, the layer is not: theirs is cut from photographs of frost, this one is made of
    the ridges of two fractals in bluish white. Not comparable with the published frost, not even roughly.
    """
    dim, weight = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[level]
    crystals, glaze = (_plasma(len(pixels), 1.4, generator) for _ in range(2))
    ridges = (1 - (2 * crystals - 1).abs()) ** 2
    tint = pixels.new_tensor((0.85, 0.95, 1.0))[:, None, None]
    layer = (0.25 + 0.5 * ridges + 0.25 * glaze)[:, None] * tint
    return dim * pixels + weight * layer


def fog(pixels: torch.Tensor, level: int, generator: torch.Generator) -> torch.Tensor:
    """A fractal cloud is added, and the sum is scaled back to the image's own maximum."""
    amount, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[level]
    brightest = pixels.amax((1, 2, 3), keepdim=True)
    return (pixels + amount * _plasma(len(pixels), decay, generator)[:, None]) * brightest / (brightest + amount)


def brightness(pixels: torch.Tensor, level: int, _generator: torch.Generator) -> torch.Tensor:
    """The value of HSV is raised by a constant: hue and saturation stay, so all channels scale alike."""
    amount = (0.05, 0.1, 0.15, 0.2, 0.3)[level]
    value = pixels.amax(1, keepdim=True)
    raised = (value + amount).clamp(max=1)
    return torch.where(value > 0, pixels * raised / value, raised)


def contrast(pixels: torch.Tensor, level: int, _generator: torch.Generator) -> torch.Tensor:
    """Deviations from each channel's mean are scaled down."""
    scale = (0.75, 0.5, 0.4, 0.3, 0.15)[level]
    mean = pixels.mean((2, 3), keepdim=True)
    return mean + scale * (pixels - mean)


def elastic_transform(pixels: torch.Tensor, level: int, generator: torch.Generator) -> torch.Tensor:
    """A random affine map, then a smooth random displacement; both sampled bilinearly.

    The affine map moves three points around the centre by up to `jitter` pixels a coordinate. OpenCV's rounding of
    sample points to 1/32 pixel is left out.
    """

    from scipy import ndimage

    strength, sigma, jitter = (
        SIDE * np.array([(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)])
    )[level].tolist()
    count = len(pixels)
    points = torch.tensor([[26.0, 26.0], [26.0, 6.0], [6.0, 6.0]], dtype=torch.float64)
    shifts = torch.rand((count, 3, 2), generator=generator, dtype=torch.float64) * 2 - 1
    moved = points + jitter * shifts
    # The image is read where the inverse map points: from the moved points back to where they were.
    back = torch.linalg.solve(torch.cat([moved, torch.ones(count, 3, 1, dtype=torch.float64)], 2), points)
    rows, columns = torch.meshgrid(torch.arange(SIDE).double(), torch.arange(SIDE).double(), indexing="ij")
    here = torch.stack([columns, rows, torch.ones_like(rows)], 2).reshape(-1, 3)
    source = (here @ back).reshape(count, SIDE, SIDE, 2)
    pixels = F.grid_sample(pixels, source * 2 / (SIDE - 1) - 1, padding_mode="reflection", align_corners=True)
    if not strength:  # the first severity
        return pixels
    smooth = _matrix(ndimage.gaussian_filter1d(np.eye(SIDE), sigma, axis=0, mode="reflect", truncate=3))
    field = torch.rand((count, 2, SIDE, SIDE), generator=generator, dtype=torch.float64) * 2 - 1
    drift = strength * _separable(smooth, field)
    source = torch.stack([columns + drift[:, 0], rows + drift[:, 1]], 3)
    return F.grid_sample(pixels, (2 * source + 1) / SIDE - 1, padding_mode="reflection", align_corners=False)


def pixelate(pixels: torch.Tensor, level: int, _generator: torch.Generator) -> torch.Tensor:
    """Shrunk and enlarged again by box filters, each pass rounded to bytes (Pillow's resize)."""
    side = int(SIDE * (0.95, 0.9, 0.85, 0.75, 0.65)[level])
    values = pixels * 255
    for matrix in (_box(SIDE, side), _box(side, SIDE)):
        values = (values @ matrix.T + 0.5).floor()
        values = (matrix @ values + 0.5).floor()
    return values / 255


def jpeg_compression(pixels: torch.Tensor, level: int, _generator: torch.Generator) -> torch.Tensor:
    """Encoded and decoded as baseline JPEG with chroma subsampling (Pillow)."""

    from PIL import Image

    quality = (80, 65, 58, 50, 40)[level]
    arrays = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    decoded = np.empty_like(arrays)
    for number, array in enumerate(arrays):
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "JPEG", quality=quality)
        decoded[number] = np.asarray(Image.open(buffer))
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).double() / 255


def _levels(pixels: torch.Tensor) -> torch.Tensor:
    """0..1 as whole levels 0..255, truncated; a value that rounding left just below a level counts as that level."""
    return (pixels * 255 + 1e-6).floor()


def _matrix(operator: npt.NDArray[Any]) -> torch.Tensor:
    """A linear filter along one axis, as the image of the identity under it."""
    return torch.tensor(operator, dtype=torch.float64)


def _separable(matrix: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """The filter `matrix` along rows and columns."""
    return matrix @ pixels @ matrix.T


@functools.cache
def _enlarge(factor: float) -> torch.Tensor:
    """(32, 32): cut out the middle, enlarge it linearly with the corners kept, cut to 32 again."""

    from scipy import ndimage

    kept = math.ceil(SIDE / factor)
    first = (SIDE - kept) // 2
    enlarged = ndimage.zoom(np.eye(SIDE)[first : first + kept], (factor, 1), order=1)
    excess = (len(enlarged) - SIDE) // 2
    return _matrix(enlarged[excess : excess + SIDE])


@functools.cache
def _box(before: int, after: int) -> torch.Tensor:
    """(after, before): Pillow's box filter along one axis."""

    from PIL import Image

    identity = Image.fromarray(np.eye(before, dtype=np.float32))
    return _matrix(np.asarray(identity.resize((before, after), Image.Resampling.BOX)))


def _take(pixels: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """pixels[n, :, rows[n, y, x], columns[n, y, x]] for every n, y, x; rows and columns may be broadcast."""
    places = (rows * SIDE + columns).reshape(len(pixels), 1, SIDE * SIDE).expand(-1, pixels.shape[1], -1)
    return pixels.flatten(2).gather(2, places).view_as(pixels)


def _angles(count: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """Angles drawn uniformly, in radians."""
    return torch.deg2rad(low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64))


def _streak(pixels: torch.Tensor, radius: int, sigma: float, angles: torch.Tensor) -> torch.Tensor:
    """ImageMagick's motion blur: 2 radius + 1 whole-pixel steps along the angle, weights of a half Gaussian, edges
    extended, rounded to bytes."""
    steps = torch.arange(2 * radius + 1, dtype=torch.float64)
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    place = torch.arange(SIDE)
    total = torch.zeros_like(pixels)
    for step, weight in zip(steps, weights, strict=True):
        down = (step * angles.sin() - 0.5).ceil().long()[:, None, None]
        right = (step * angles.cos() - 0.5).ceil().long()[:, None, None]
        rows, columns = (place[:, None] + down).clamp(0, SIDE - 1), (place + right).clamp(0, SIDE - 1)
        total += weight * _take(pixels, rows, columns)
    return (total * 255).round() / 255


def _plasma(count: int, decay: float, generator: torch.Generator) -> torch.Tensor:
    """(count, 32, 32): diamond-square fractals on a torus, each scaled to 0..1.

    Midpoints are the mean of their four neighbours plus uniform noise, whose range shrinks by decay^2 an octave.
    """
    grid = torch.zeros((count, SIDE, SIDE), dtype=torch.float64)
    step, amplitude = SIDE, 1.0

    def midpoints(total: torch.Tensor) -> torch.Tensor:
        noise = torch.rand(total.shape, generator=generator, dtype=torch.float64) * 2 - 1
        return total / 4 + amplitude * noise

    while step >= 2:
        half = step // 2
        corners = grid[:, ::step, ::step].clone()
        pairs = corners + corners.roll(-1, 1)
        middle = midpoints(pairs + pairs.roll(-1, 2))
        grid[:, half::step, half::step] = middle
        grid[:, ::step, half::step] = midpoints(middle + middle.roll(1, 1) + corners + corners.roll(-1, 2))
        grid[:, half::step, ::step] = midpoints(middle + middle.roll(1, 2) + corners + corners.roll(-1, 1))
        step, amplitude = half, amplitude / decay**2
    grid -= grid.amin((1, 2), keepdim=True)
    return grid / grid.amax((1, 2), keepdim=True)


CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, frost, fog,
        brightness, contrast, elastic_transform, pixelate, jpeg_compression,
    )
}  # fmt: skip
NAMES = tuple(CORRUPTIONS)
"""In the order of the benchmark, named as its files."""
