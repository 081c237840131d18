"""What the paper prints, by domain: Tables 1, 3, 4 and 5. Losses in nats per token, compute in PF-days."""

from __future__ import annotations

from baselines.power_laws import PowerLaw

LOSS_OF_SIZE = {
    "language": PowerLaw(0, 1.47e14, 0.070),
    "image 8x8": PowerLaw(3.12, 8.0e1, 0.24),
    "image 16x16": PowerLaw(2.64, 2.8e2, 0.22),
    "image 32x32": PowerLaw(2.20, 6.3e1, 0.13),
    "image VQ 16x16": PowerLaw(3.99, 2.7e4, 0.13),
    "image VQ 32x32": PowerLaw(3.07, 1.9e4, 0.14),
    "text-to-image": PowerLaw(2.0, 5.1e3, 0.16),
    "image-to-text": PowerLaw(2.0, 5.5e3, 0.15),
    "video": PowerLaw(1.01, 3.7e4, 0.24),
    "maths": PowerLaw(0.28, 1.1e4, 0.16),
}
TEXT_PARTS = {"text-to-image": PowerLaw(0, 5.6e8, 0.037), "image-to-text": PowerLaw(0, 7.0e8, 0.039)}
LOSS_OF_COMPUTE = {
    "language": PowerLaw(0, 3.47e8, 0.048),
    "image 8x8": PowerLaw(3.13, 1.8e-8, 0.19),
    "image 16x16": PowerLaw(2.64, 1.6e-8, 0.16),
    "image 32x32": PowerLaw(2.21, 3.6e-9, 0.10),
    "image VQ 16x16": PowerLaw(4.09, 6.1e-7, 0.11),
    "image VQ 32x32": PowerLaw(3.17, 2.6e-6, 0.12),
    "text-to-image": PowerLaw(1.93, 1.5e-6, 0.15),
    "image-to-text": PowerLaw(1.97, 1.5e-6, 0.16),
    "video": PowerLaw(0.95, 2.2e-5, 0.14),
    "maths": PowerLaw(0.14, 1.4e-5, 0.17),
}
OPTIMAL_SIZE = {
    "language": (3.3e-13, 0.73),
    "image 8x8": (5.3e-14, 0.64),
    "image 16x16": (4.8e-12, 0.75),
    "image 32x32": (1.6e-13, 0.65),
    "image VQ 16x16": (6.2e-14, 0.64),
    "image VQ 32x32": (9.4e-13, 0.70),
    "text-to-image": (9.4e-13, 0.70),
    "image-to-text": (3.3e-12, 0.72),
    "video": (1.13e-12, 0.71),
    "maths": (2.3e-12, 0.69),
}
"""(c0, b) of N_opt = (C / c0)^b."""

IMAGE_TOKENS = {
    "image 8x8": 192,
    "image 16x16": 768,
    "image 32x32": 3072,
    "image VQ 16x16": 256,
    "image VQ 32x32": 1024,
}
NATS_PER_IMAGE = {
    "image 8x8": 602.0,
    "image 16x16": 2026.0,
    "image 32x32": 6806.0,
    "image VQ 16x16": 1047.0,
    "image VQ 32x32": 3246.0,
}
COMPUTE_SCALE_PER_IMAGE = {
    "image 8x8": 1.9e3,
    "image 16x16": 1.7e10,
    "image 32x32": 2.7e26,
    "image VQ 16x16": 4.7e15,
    "image VQ 32x32": 3.1e19,
}

NARROW = {  # width: (layers, N, maximal learning rate), Table 5
    32: (4, 12_288, 2.686e-3),
    64: (8, 98_304, 1.597e-3),
    128: (16, 786_432, 9.50e-4),
    256: (32, 6_291_456, 5.65e-4),
    512: (64, 50_331_648, 3.36e-4),
    1024: (128, 402_653_184, 2.00e-4),
    2048: (256, 3_221_225_472, 1.19e-4),
}
WIDE = {64: (2, 98_304, 1.64e-3), 1536: (24, 679_477_248, 4.02e-4)}
"""The same of Table 4, first and last row."""


def relative(found: float, printed: float) -> float:
    """|found / printed - 1|."""
    return abs(found / printed - 1)
