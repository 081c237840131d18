"""Composed pages drawn, blurred and read by Tesseract, region by region: its errors by vector and by edit distance.

Needs the package pytesseract (`crossexam[ocr]`) and the program tesseract with its English data.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from scipy.stats import spearmanr

from suites.character_error_vector.contenders import DISTANCES, cer, f1
from suites.character_error_vector.layout import cote, ocr_dominates
from suites.character_error_vector.method import count, decompose, inside_boxes, normalise, vectors
from suites.character_error_vector.pages import TEXTS, Composed, compose, misparse, words

SIZE, LINE = 22, 30.0
"""Font size and height of a line in pixels."""


def readings(*, seed: int, pages: int) -> dict[str, torch.Tensor]:
    """By true region: CER, SpACER, CDD, total variation (regions, 4); by page: the four errors, COTe, and the total
    error of one box over the page (pages, 6). Blur of 0.5 to 2 pixels, grey noise of 10 to 60 levels, severity up to 1.
    """
    from PIL import ImageFont

    font = ImageFont.load_default(SIZE)
    rng = np.random.default_rng(seed)
    stocks = [words(text) for text in TEXTS]
    by_region, by_page = [], []
    for number in range(pages):
        page = compose(
            stocks[number % len(stocks)],
            rng,
            lambda line: [font.getlength(line[:n]) for n in range(len(line) + 1)],
            LINE,
        )
        image = drawn(page, font, blur=rng.uniform(0.5, 2.0), noise=rng.uniform(10, 60), rng=rng)
        boxes = misparse(page, rng.uniform(), rng)
        first, second = ([recognised(image, box) for box in some] for some in (page.regions, boxes))
        truths = ["".join(np.array(list(page.characters))[page.owners == owner]) for owner in range(len(page.regions))]
        bags = count(truths, first)
        distances = [distance(*bags) for distance in DISTANCES.values()]
        by_region += list(zip([cer(*pair) for pair in zip(truths, first, strict=True)], *distances, strict=True))
        counted = vectors(
            page.characters, inside_boxes(page.midpoints, boxes), owners=page.owners, read_true=first, read=second
        )
        whole = vectors(page.characters, read=[recognised(image, np.array([0.0, 0.0, *page.size]))])
        by_page.append([
            *vars(decompose(counted)).values(), cote(page.regions, boxes, page.size).score, decompose(whole).total,
        ])  # fmt: skip
    return {
        name: torch.tensor(np.array(rows, dtype=float)) for name, rows in (("regions", by_region), ("pages", by_page))
    }


def drawn(page: Composed, font: object, *, blur: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The page as grey levels uint8 (height, width)."""
    from PIL import Image, ImageDraw, ImageFilter

    width, height = (int(np.ceil(side)) for side in page.size)
    image = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(image)
    for x, y, text in page.lines:
        pen.text((x, y + 2), text, fill=0, font=font)  # type: ignore[arg-type]
    grey = np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), dtype=float)
    return np.clip(grey + rng.normal(0, noise, grey.shape), 0, 255).astype(np.uint8)


def recognised(image: np.ndarray, box: np.ndarray) -> str:
    """What Tesseract reads in a box as one block of text, normalised; nothing where the box is not on the page."""
    import pytesseract
    from PIL import Image

    os.environ["OMP_THREAD_LIMIT"] = "1"
    x, y, w, h = (int(edge) for edge in np.rint([box[0], box[1], box[0] + box[2], box[1] + box[3]]))
    part = image[max(0, y) : max(0, h), max(0, x) : max(0, w)]
    if min(part.shape) < 3:
        return ""
    framed = np.pad(part, 10, constant_values=255)
    return normalise(pytesseract.image_to_string(Image.fromarray(framed), lang="eng", config="--psm 6"))


def engine(*, arm: str, pages: int, readings: str) -> dict[str, float]:
    """Spearman's correlation of a distance with CER over true regions, SpACER over CER, and the pages' errors."""
    from safetensors.numpy import load_file

    del pages  # of the artifact
    found = load_file(readings)
    rates, *distances = found["regions"].T
    parsing, ocr, interaction, total, score, whole = found["pages"].T
    truth, erring = ocr >= parsing, rates > 0
    return {
        "spearman": float(spearmanr(rates, dict(zip(DISTANCES, distances, strict=True))[arm]).statistic),
        "ratio": float((distances[0][erring] / rates[erring]).mean()), "cer": float(np.median(rates)),
        "above": float((distances[0] > rates + 1e-12).sum()), "regions": float(len(rates)),
        "f1_ratio": f1(truth, ocr_dominates(ocr, total, score, least_score=-np.inf)), "share": float(truth.mean()),
        **{name: float(np.median(one)) for name, one in
           (("parsing", parsing), ("ocr", ocr), ("interaction", interaction), ("total", total), ("whole", whole))},
    }  # fmt: skip
