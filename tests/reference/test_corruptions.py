"""Each corruption against an implementation that shares no code with it, one image at a time, or a closed form."""

from __future__ import annotations

import colorsys
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from reference import corruptions
from reference.corruptions import NAMES, corrupt

LEVELS = range(5)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Smooth structure, noise, and three flat images: black, mid grey, white."""
    rng = np.random.default_rng(0)
    smooth = ndimage.zoom(rng.uniform(0, 255, (5, 3, 6, 6)), (1, 1, 32 / 6, 32 / 6), order=1)
    flat = np.stack([np.full((3, 32, 32), level) for level in (0, 120, 255)])
    return torch.from_numpy(np.concatenate([smooth, rng.uniform(0, 256, (2, 3, 32, 32)), flat]).astype(np.uint8))


def raw(name: str, images: torch.Tensor, level: int, seed: int = 0) -> np.ndarray:
    """The corruption before it is clipped and made bytes, (N, H, W, C)."""
    generator = torch.Generator().manual_seed(seed)
    return corruptions.CORRUPTIONS[name](images.double() / 255, level, generator).permute(0, 2, 3, 1).numpy()


def arrays(images: torch.Tensor) -> np.ndarray:
    """(N, H, W, C) in 0..1."""
    return images.permute(0, 2, 3, 1).double().numpy() / 255


@pytest.mark.parametrize("name", NAMES)
def test_bytes_in_bytes_out_and_the_seed_decides(images: torch.Tensor, name: str) -> None:
    given = images.clone()
    first, again, other = (corrupt(images, name, 5, seed) for seed in (1, 1, 2))
    assert first.dtype == torch.uint8 and first.shape == images.shape and first.is_contiguous()
    assert torch.equal(first, again) and torch.equal(images, given)
    deterministic = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    assert torch.equal(first, other) == (name in deterministic)
    assert corrupt(images[:0], name, 5).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"glass_blur", "elastic_transform", "frost", "motion_blur"}))
def test_severity_grows(images: torch.Tensor, name: str) -> None:
    """Not those whose published parameters are not ordered by the distance that they move pixels."""
    distance = [float((corrupt(images, name, s).double() - images.double()).abs().mean()) for s in (1, 3, 5)]
    assert distance == sorted(distance) and distance[0] < distance[2]


def test_names_are_those_of_the_benchmark() -> None:
    assert len(NAMES) == 15 and NAMES[:2] == ("gaussian_noise", "shot_noise") and NAMES[-1] == "jpeg_compression"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "blur"}, "no corruption 'blur'"),
        ({"severity": 0}, "severity"),
        ({"images": torch.zeros(2, 3, 32, 32)}, "uint8"),
        ({"images": torch.zeros(2, 3, 28, 28, dtype=torch.uint8)}, "uint8"),
    ],
)
def test_bad_input(images: torch.Tensor, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt(**{"images": images, "name": "fog", "severity": 1, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("level", LEVELS)
def test_gaussian_noise(level: int) -> None:
    scale = (0.04, 0.06, 0.08, 0.09, 0.10)[level]
    flat = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    noise = raw("gaussian_noise", flat, level).ravel() - 128 / 255
    assert stats.kstest(noise, stats.norm(0, scale).cdf).pvalue > 1e-3


@pytest.mark.parametrize("level", LEVELS)
def test_shot_noise(level: int) -> None:
    photons = (500, 250, 100, 75, 50)[level]
    flat = torch.full((20, 3, 32, 32), 51, dtype=torch.uint8)  # 0.2
    counts = np.rint(raw("shot_noise", flat, level).ravel() * photons).astype(int)
    low, high = (int(q) for q in stats.poisson.ppf((0.01, 0.99), 0.2 * photons))
    observed = np.bincount(np.clip(counts, low, high) - low)
    edges = stats.poisson.cdf(np.arange(low, high), 0.2 * photons)
    expected = np.diff(np.concatenate([[0], edges, [1]])) * counts.size
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("level", LEVELS)
def test_impulse_noise(level: int) -> None:
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[level]
    flat = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    found = raw("impulse_noise", flat, level).ravel()
    assert set(np.unique(found)) == {0.0, 128 / 255, 1.0}
    assert stats.binomtest(int((found != 128 / 255).sum()), found.size, share).pvalue > 1e-3
    assert stats.binomtest(int((found == 1).sum()), int((found != 128 / 255).sum()), 0.5).pvalue > 1e-3


@pytest.mark.parametrize("level", LEVELS)
def test_defocus_blur(images: torch.Tensor, level: int) -> None:
    radius, smoothing = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[level]
    disk = np.array([[float(x * x + y * y <= radius**2) for x in range(-8, 9)] for y in range(-8, 9)])
    kernel = np.zeros((17, 17))
    weights = [math.exp(-(i**2) / (2 * smoothing**2)) for i in (-1, 0, 1)]
    for i in range(3):
        for j in range(3):
            shifted = ndimage.shift(disk / disk.sum(), (i - 1, j - 1), order=0)
            kernel += weights[i] * weights[j] * shifted / sum(weights) ** 2
    found = raw("defocus_blur", images, level)
    for got, image in zip(found, arrays(images), strict=True):
        for channel in range(3):
            assert np.allclose(got[..., channel], ndimage.convolve(image[..., channel], kernel, mode="mirror"))


@pytest.mark.parametrize("level", LEVELS)
def test_glass_blur(images: torch.Tensor, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published loop, with NumPy's views, fed with the same offsets."""
    sigma, rounds = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[level]
    offsets: list[torch.Tensor] = []
    draw = torch.randint

    def recorded(*args: object, **kwargs: object) -> torch.Tensor:
        offsets.append(draw(*args, **kwargs).clone())  # type: ignore[call-overload]
        return offsets[-1].clone()

    monkeypatch.setattr(torch, "randint", recorded)
    found = raw("glass_blur", images, level)
    for number, image in enumerate(arrays(images)):
        expected = (ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest") * 255 + 1e-6).astype(np.uint8)
        for turn in range(rounds):
            for h in range(31, 1, -1):
                for w in range(31, 1, -1):
                    down, right = (-int(offsets[turn][axis, number, h, w]) for axis in (0, 1))
                    one, other = expected[h, w], expected[h + down, w + right]
                    one[:], other[:] = other, one
        blurred = ndimage.gaussian_filter(expected / 255, (sigma, sigma, 0), mode="nearest")
        assert np.abs(found[number] - blurred).max() < 1e-9


def streak(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """ImageMagick's motion blur of one (H, W) image, pixel by pixel."""
    steps = range(2 * radius + 1)
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in steps]
    out = np.zeros_like(image)
    for y in range(32):
        for x in range(32):
            for i in steps:
                row = min(max(y + math.ceil(i * math.sin(angle) - 0.5), 0), 31)
                column = min(max(x + math.ceil(i * math.cos(angle) - 0.5), 0), 31)
                out[y, x] += weights[i] / sum(weights) * image[row, column]
    return np.rint(out * 255) / 255


@pytest.mark.parametrize("level", LEVELS)
def test_motion_blur(images: torch.Tensor, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[level]
    angles = torch.deg2rad(torch.linspace(-45, 45, 2, dtype=torch.float64))
    monkeypatch.setattr(corruptions, "_angles", lambda count, low, high, generator: angles)
    found = raw("motion_blur", images[3:5], level)
    for got, image, angle in zip(found, arrays(images[3:5]), angles.tolist(), strict=True):
        assert np.abs(got[..., 0] - streak(image[..., 0], radius, sigma, angle)).max() < 1e-9


def enlarged(image: np.ndarray, factor: float) -> np.ndarray:
    """(32, 32, C): SciPy's zoom of the middle, cut to size."""
    kept = math.ceil(32 / factor)
    first = (32 - kept) // 2
    found = ndimage.zoom(image[first : first + kept, first : first + kept], (factor, factor, 1), order=1)
    excess = (len(found) - 32) // 2
    return found[excess : excess + 32, excess : excess + 32]


@pytest.mark.parametrize("level", LEVELS)
def test_zoom_blur(images: torch.Tensor, level: int) -> None:
    # NumPy's arange reaches its own end at severities 1 and 2, and CIFAR-10-C was made with it.
    factors = [1 + (1.01 - 1) * i for i in range((7, 12, 16, 21, 26)[level])]
    for got, image in zip(raw("zoom_blur", images, level), arrays(images), strict=True):
        expected = (image + sum(enlarged(image, factor) for factor in factors)) / (len(factors) + 1)
        assert np.abs(got - expected).max() < 1e-9


@pytest.mark.parametrize("level", LEVELS)
def test_snow(images: torch.Tensor, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mean, spread, zoom, threshold, radius, sigma, keep = [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ][level]  # fmt: skip
    angle = torch.deg2rad(torch.tensor([-100.0], dtype=torch.float64))
    noise = torch.randn((1, 1, 32, 32), generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    monkeypatch.setattr(corruptions, "_angles", lambda count, low, high, generator: angle)
    for number in range(4):
        layer = enlarged((mean + spread * noise[0, 0].numpy())[..., None], zoom)[..., 0]
        layer[layer < threshold] = 0
        layer = np.floor(np.clip(layer, 0, 1) * 255 + 1e-6) / 255
        layer = streak(layer, radius, sigma, float(angle))[..., None]
        image = arrays(images)[number]
        gray = image @ np.array([0.299, 0.587, 0.114])
        white = keep * image + (1 - keep) * np.maximum(image, gray[..., None] * 1.5 + 0.5)
        got = raw("snow", images[number : number + 1], level, seed=7)[0]
        assert np.abs(got - (white + layer + np.rot90(layer, 2))).max() < 1e-9


@pytest.mark.parametrize("level", LEVELS)
def test_frost_is_a_weighted_sum_with_one_layer(images: torch.Tensor, level: int) -> None:
    dim, weight = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[level]
    black, other = raw("frost", torch.zeros_like(images), level), raw("frost", images, level)
    assert np.allclose(other - black, dim * arrays(images))
    assert black.min() >= 0 and black.max() <= weight


@pytest.mark.parametrize("level", LEVELS)
def test_fog(images: torch.Tensor, level: int) -> None:
    """The layer that the formula needs is the same whatever the image, spans 0..1 and is one for all channels."""
    amount = (0.2, 0.5, 0.75, 1, 1.5)[level]
    layers = []
    for chosen in (images[3:4], images[4:5], images[5:6]):
        image, got = arrays(chosen)[0], raw("fog", chosen, level)[0]
        layers.append((got * (image.max() + amount) / image.max() - image) / amount)
    assert np.allclose(layers[0], layers[1]) and np.allclose(layers[0], layers[2])
    assert layers[0].min() == pytest.approx(0, abs=1e-9) and layers[0].max() == pytest.approx(1)
    assert np.ptp(layers[0], axis=2).max() < 1e-9


def test_plasma_midpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise but that of the first midpoint, the fractal is the plain subdivision of a torus."""
    sizes: list[tuple[int, ...]] = []

    def first_only(size: tuple[int, ...], **kwargs: object) -> torch.Tensor:
        sizes.append(tuple(size))
        return torch.full(tuple(size), 1.0 if len(sizes) == 1 else 0.5, dtype=torch.float64)

    monkeypatch.setattr(torch, "rand", first_only)
    grid = corruptions._plasma(1, 2.0, torch.Generator())[0]
    assert [size[1] for size in sizes] == [1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, 16, 16, 16]
    assert grid[0, 0] == 0 and grid[16, 16] == 1  # the corner, and the middle that the noise raised
    assert grid[0, 16] == grid[16, 0] == 0.5  # two middles, two corners
    assert grid[8, 8] == 0.5 and grid[0, 8] == (0.5 + 0.5 + 0 + 0.5) / 4


def test_plasma_noise_shrinks_with_the_octave() -> None:
    """The spread of a midpoint about the mean of its neighbours, between octaves: decay squared."""
    spans: list[float] = []
    grid = corruptions._plasma(4000, 2.0, torch.Generator().manual_seed(0))
    for step in (8, 4, 2):
        half, corners = step // 2, grid[:, ::step, ::step]
        mean = (corners + corners.roll(-1, 1) + corners.roll(-1, 2) + corners.roll((-1, -1), (1, 2))) / 4
        spans.append(float((grid[:, half::step, half::step] - mean).std()))
    assert spans[0] / spans[1] == pytest.approx(4, rel=0.02) and spans[1] / spans[2] == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("level", LEVELS)
def test_brightness(images: torch.Tensor, level: int) -> None:
    amount = (0.05, 0.1, 0.15, 0.2, 0.3)[level]
    got, given = raw("brightness", images, level).reshape(-1, 3), arrays(images).reshape(-1, 3)
    for found, pixel in list(zip(got, given, strict=True))[::7]:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        assert np.allclose(found, colorsys.hsv_to_rgb(hue, saturation, min(value + amount, 1)))


@pytest.mark.parametrize("level", LEVELS)
def test_contrast(images: torch.Tensor, level: int) -> None:
    scale = (0.75, 0.5, 0.4, 0.3, 0.15)[level]
    got, given = raw("contrast", images, level), arrays(images)
    assert np.allclose(got.mean((1, 2)), given.mean((1, 2)))
    assert np.allclose(got.std((1, 2)), scale * given.std((1, 2)))


@pytest.mark.parametrize("level", LEVELS)
def test_elastic_transform(images: torch.Tensor, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SciPy samples what the two maps say, for draws that are recorded."""
    strength, sigma, jitter = (
        (0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96),
    )[level]  # fmt: skip
    draws: list[torch.Tensor] = []
    draw = torch.rand

    def recorded(*args: object, **kwargs: object) -> torch.Tensor:
        draws.append(draw(*args, **kwargs))  # type: ignore[call-overload]
        return draws[-1]

    monkeypatch.setattr(torch, "rand", recorded)
    found = raw("elastic_transform", images, level)
    before = np.array([[26, 26], [26, 6], [6, 6]], dtype=float)  # x, y
    for number, image in enumerate(arrays(images)):
        after = before + jitter * (2 * draws[0][number].numpy() - 1)
        # Forward map: [x', y'] = A [x, y, 1]; every pixel of the result is read at the inverse.
        forward = np.linalg.solve(np.c_[before, np.ones(3)], after).T
        inverse = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))
        rows, columns = np.mgrid[:32, :32].astype(float)
        x, y, _ = np.einsum("ij,jhw->ihw", inverse, np.stack([columns, rows, np.ones_like(rows)]))
        drift = np.zeros((2, 32, 32))
        if strength:
            noise = 2 * draws[1][number].numpy() - 1
            drift = strength * np.stack(
                [ndimage.gaussian_filter(part, sigma, mode="reflect", truncate=3) for part in noise]
            )
        for channel in range(3):
            moved = ndimage.map_coordinates(image[..., channel], [y, x], order=1, mode="mirror")
            expected = ndimage.map_coordinates(moved, [rows + drift[1], columns + drift[0]], order=1, mode="reflect")
            assert np.abs(found[number, ..., channel] - expected).max() < 1e-9


@pytest.mark.parametrize("level", LEVELS)
def test_pixelate(images: torch.Tensor, level: int) -> None:
    side = (30, 28, 27, 24, 20)[level]
    found = corrupt(images, "pixelate", level + 1)
    for got, image in zip(found, images, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        picture = picture.resize((side, side), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
        assert np.array_equal(got.permute(1, 2, 0).numpy(), np.asarray(picture))


@pytest.mark.parametrize("level", LEVELS)
def test_jpeg_compression(images: torch.Tensor, level: int) -> None:
    found = corrupt(images, "jpeg_compression", level + 1)
    for got, image in zip(found, images, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=(80, 65, 58, 50, 40)[level])
        assert np.array_equal(got.permute(1, 2, 0).numpy(), np.asarray(Image.open(buffer)))
