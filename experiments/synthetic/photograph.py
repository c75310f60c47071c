"""From a painted scene to a photograph: weather, optics, exposure and noise."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from experiments.synthetic.light import Light
from experiments.synthetic.mesh import Real


def develop(
    scene: Image.Image, light: Light, rng: np.random.Generator, oversampling: int, rough: Real = 1.0
) -> Image.Image:
    """The finished picture.

    Args:
        scene: painted at ``oversampling`` times the final size.
        light: dark scenes are noisier.
        rng: what the photograph is subject to.
        oversampling: an integer factor of both sides.
        rough: 0..1, how bad weather and camera may be.
    """
    weather = str(rng.choice(["none", "rain", "snow"], p=[0.86, 0.08, 0.06])) if rng.random() < rough else "none"
    if weather != "none":
        _fall(scene, weather, rng)
    image = scene.reduce(oversampling) if oversampling > 1 else scene
    blur = abs(rng.normal(0.0, 0.55)) * rough
    if blur > 0.4:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    pixels = np.asarray(image, np.float32) / 255
    height, width = pixels.shape[:2]
    metered = float(np.clip(0.5 / max(float(pixels.mean()), 0.05), 0.75, 3.0)) ** 0.5
    gain = metered * rng.normal(1.0, 0.12) * (1 + rng.normal(0, 0.045, 3))
    contrast, lift = rng.normal(1.05, 0.14), rng.uniform(-0.03, 0.05)
    grey = pixels.mean(2, keepdims=True)
    pixels = grey + (pixels - grey) * np.float32(max(0.2, rng.normal(1.0, 0.2)))
    pixels = ((pixels * gain.astype(np.float32) - 0.5) * contrast + 0.5) + np.float32(lift)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    pixels *= (1 - rng.uniform(0, 0.2) * (x * x + y * y) / 2).astype(np.float32)[..., None]
    strength = abs(rng.normal(0.0, 0.014)) * rough + (0.014 if light.name == "night" else 0.004)
    grain = rng.standard_normal((height, width, 1), np.float32) + 0.5 * rng.standard_normal(
        (height, width, 3), np.float32
    )
    pixels += np.float32(strength) * grain
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _fall(scene: Image.Image, weather: str, rng: np.random.Generator) -> None:
    """Streaks of rain or flakes of snow over the scene."""
    draw = ImageDraw.Draw(scene, "RGBA")
    width, height = scene.size
    size, slant = max(width, height) / 100, rng.uniform(-0.35, 0.35)
    count = int(rng.integers(60, 260))
    places = rng.random((count, 3)).tolist()
    for x, y, s in places:
        u, v = x * width, y * height
        if weather == "rain":
            length = (1.5 + 4 * s) * size
            draw.line((u, v, u + slant * length, v + length), (225, 230, 238, 90), max(1, round(size * 0.18)))
        else:
            r = (0.15 + 0.5 * s * s) * size
            draw.ellipse((u - r, v - r, u + r, v + r), (245, 246, 250, 190))


def encode(image: Image.Image, quality: int) -> bytes:
    """The picture as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
