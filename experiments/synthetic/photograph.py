"""This module turns a painted scene into a photograph, with weather, optics, exposure and noise."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from experiments.synthetic.light import Light
from experiments.synthetic.mesh import Real


def develop(
    scene: Image.Image, light: Light, rng: np.random.Generator, oversampling: int, roughness: Real = 1.0
) -> Image.Image:
    """Returns the photograph of a painted scene.

    Args:
        scene: the painted scene, ``oversampling`` times as wide and high as the photograph.
        light: the light of the scene; photographs at night are noisier.
        rng: the source of the weather and of the camera's faults.
        oversampling: whole number of painted pixels for each pixel, in both directions.
        roughness: severity of the weather and of the camera's faults, 0 to 1.
    """
    weather = str(rng.choice(["none", "rain", "snow"], p=[0.86, 0.08, 0.06])) if rng.random() < roughness else "none"
    if weather != "none":
        _draw_precipitation(scene, weather, rng)
    image = scene.reduce(oversampling) if oversampling > 1 else scene
    blur = abs(rng.normal(0.0, 0.55)) * roughness
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
    noise = abs(rng.normal(0.0, 0.014)) * roughness + (0.014 if light.name == "night" else 0.004)
    grain = rng.standard_normal((height, width, 1), np.float32) + 0.5 * rng.standard_normal(
        (height, width, 3), np.float32
    )
    pixels += np.float32(noise) * grain
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _draw_precipitation(scene: Image.Image, weather: str, rng: np.random.Generator) -> None:
    """Draws streaks of rain or flakes of snow over the scene."""
    draw = ImageDraw.Draw(scene, "RGBA")
    width, height = scene.size
    unit, slant = max(width, height) / 100, rng.uniform(-0.35, 0.35)
    count = int(rng.integers(60, 260))
    drops = rng.random((count, 3)).tolist()
    for x, y, drop_size in drops:
        u, v = x * width, y * height
        if weather == "rain":
            length = (1.5 + 4 * drop_size) * unit
            draw.line((u, v, u + slant * length, v + length), (225, 230, 238, 90), max(1, round(unit * 0.18)))
        else:
            radius = (0.15 + 0.5 * drop_size * drop_size) * unit
            draw.ellipse((u - radius, v - radius, u + radius, v + radius), (245, 246, 250, 190))


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Encodes a picture as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
