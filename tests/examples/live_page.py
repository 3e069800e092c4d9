"""What a page shows, and waiting until it does."""

from __future__ import annotations

import numpy as np

from tests.examples.browser import Browser
from tests.examples.red_square import HEIGHT, SIDE, WIDTH, Camera

# The bounds of what has the colour of a box in a picture, in pixels of its frame.
BOX = """
const image = document.querySelectorAll("img")[arguments[0]];
if (!image?.naturalWidth) return null;
const canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
const context = canvas.getContext("2d");
context.drawImage(image, 0, 0);
const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
for (let i = 0; i < data.length; i += 4) {
  const [red, green, blue] = data.slice(i, i + 3);
  if (Math.abs(red - 230) < 30 && Math.abs(green - 159) < 30 && blue < 60) {
    const x = (i / 4) % canvas.width, y = Math.floor(i / 4 / canvas.width);
    [left, top] = [Math.min(left, x), Math.min(top, y)];
    [right, bottom] = [Math.max(right, x + 1), Math.max(bottom, y + 1)];
  }
}
const [x, y] = [arguments[1] / canvas.width, arguments[2] / canvas.height];
return [left * x, top * y, right * x, bottom * y];
"""


def wait_for_box(browser: Browser, card: int, camera: Camera) -> None:
    """Until the box in a card's picture is where the camera shows the square.

    A cell of the detector is 2.5 pixels and JPEG blurs by one; the label that stands on the box
    adds up to 12 at its top.
    """
    left, top = camera.place
    sides = np.array([left, top, left + SIDE, top + SIDE])

    def there(box: list[float] | None) -> bool:
        if box is None:
            return False
        off = np.array(box) - sides
        return bool(-15.5 <= off[1] <= 3.5 and (abs(off[[0, 2, 3]]) <= 3.5).all())

    browser.wait(BOX, card, WIDTH, HEIGHT, until=there)


def part(browser: Browser, query: str) -> str:
    """The text of an element."""
    return str(browser.run("return document.querySelector(arguments[0]).textContent", query))


def wait_for_text(browser: Browser, query: str, text: str) -> None:
    browser.wait(
        "return document.querySelector(arguments[0]).textContent.includes(arguments[1])",
        query,
        text,
    )
