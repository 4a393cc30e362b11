"""The contact sheet: rows of samples, with what made them written under each."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from diptych.images import Picture

SIDE = 256
GAP = 24
MARGIN = 40
PAPER, INK, FAINT = (250, 249, 246), (32, 32, 36), (120, 120, 126)


def contact_sheet(rows: Sequence[Sequence[Picture]]) -> bytes:
    """PNG bytes: a row per prompt, its samples side by side, seed, seconds and settings under each."""
    columns = max(len(row) for row in rows)
    heading, small = ImageFont.load_default(20), ImageFont.load_default(13)
    row_height = 36 + SIDE + 52
    width = 2 * MARGIN + columns * SIDE + (columns - 1) * GAP
    height = 2 * MARGIN + len(rows) * row_height + (len(rows) - 1) * GAP - 12
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for row in rows:
        draw.text((MARGIN, y), _fitted(draw, row[0].request.prompt, heading, width - 2 * MARGIN), INK, heading)
        for i, picture in enumerate(row):
            x = MARGIN + i * (SIDE + GAP)
            image = picture.image.convert("RGB")
            image.thumbnail((SIDE, SIDE))
            if max(image.size) < SIDE:  # thumbnail only shrinks
                scale = SIDE / max(image.size)
                size = (round(image.width * scale), round(image.height * scale))
                image = image.resize(size, Image.Resampling.LANCZOS)
            sheet.paste(image, (x + (SIDE - image.width) // 2, y + 36 + (SIDE - image.height) // 2))
            r = picture.request
            made = f"seed {r.seed}  ·  {picture.seconds:.2f} s  ·  {r.width}x{r.height}"
            draw.text((x, y + 36 + SIDE + 8), made, INK, small)
            settings = f"{picture.model}  ·  {r.steps} steps  ·  guidance {r.guidance:g}"
            draw.text((x, y + 36 + SIDE + 28), _fitted(draw, settings, small, SIDE), FAINT, small)
        y += row_height + GAP
    out = io.BytesIO()
    info = PngInfo()
    info.add_text("Software", "diptych")
    sheet.save(out, "PNG", optimize=True, pnginfo=info)
    return out.getvalue()


def _fitted(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    """`text`, cut with an ellipsis where it is too wide."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text.rstrip() + "…"
