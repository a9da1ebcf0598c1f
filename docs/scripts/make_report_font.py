"""Make the fonts of the PDF report from the Debian packages fonts-noto-cjk and fonts-noto-core.

Run from the root of the repository, with fonttools installed:
    python docs/scripts/make_report_font.py /usr/share/fonts
The folder holds `opentype/noto/NotoSansCJK-{Regular,Bold}.ttc` and
`truetype/noto/NotoSans-Regular.ttf`. What is changed is written beside the fonts, in
`joulemark_sans_kr.source.yaml`. The same input gives the same bytes.
"""

import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTCollection, TTFont

TARGET = Path("gateway/joulemark_gateway/reports/fonts")
FACE = "Noto Sans CJK KR"
FAMILY, HEADING, SIGNS = "Joulemark Sans KR", "Joulemark Heading KR", "Joulemark Signs"
FULL_WIDTH = 1000  # of an em of 1000: a sign drawn as wide as a syllable
KEPT_NAMES = (0, 3, 5, 9, 10, 13, 14)  # copyright, id, version, designer, origin, licence
LATIN = (*range(0x20, 0x7F), *range(0xA0, 0x180))
MORE = (*range(0x2010, 0x2060), *range(0x2070, 0x20C0), *range(0x2100, 0x2200), 0x2212, 0x2248)
SYLLABLES = range(0xAC00, 0xD7A4)


def ksx1001() -> tuple[set[int], set[int]]:
    """The signs of rows 1 to 12 and the 2,350 syllables of rows 16 to 40."""
    rows: dict[int, set[int]] = {}
    for row in (*range(1, 13), *range(16, 41)):
        for place in range(1, 95):
            try:
                text = bytes([0xA0 + row, 0xA0 + place]).decode("euc_kr")
            except UnicodeDecodeError:
                continue
            rows.setdefault(row, set()).add(ord(text))
    signs = set().union(*(rows[row] for row in rows if row <= 12))
    return signs, set().union(*(rows[row] for row in rows if row > 12))


def face(path: Path) -> TTFont:
    """The Korean face of the collection."""
    for font in TTCollection(path, lazy=True).fonts:
        if font["name"].getDebugName(4) in (FACE, f"{FACE} Bold"):
            return font
    raise SystemExit(f"{path} has no face {FACE!r}.")


def subset(font: TTFont, characters: set[int], family: str, target: Path) -> None:
    """Write the part of the font that these characters need, under another name."""
    options = Options()
    options.hinting = False  # a page is not drawn pixel by pixel
    options.layout_features = []  # neither kerning nor vertical forms: figures stay in columns
    options.name_IDs = [*KEPT_NAMES]
    options.name_languages = [0x409]
    options.notdef_outline = True
    cutter = Subsetter(options)
    cutter.populate(unicodes=characters)
    cutter.subset(font)
    names = font["name"]
    plain = family.replace(" ", "")
    for name_id, text in ((1, family), (2, "Regular"), (4, family), (6, plain)):
        names.setName(text, name_id, 3, 1, 0x409)
    weight = font["OS/2"]
    weight.usWeightClass, weight.fsSelection = 400, (weight.fsSelection & ~0x21) | 0x40
    font["head"].macStyle = 0
    if "CFF " in font:
        top = font["CFF "].cff
        top.fontNames = [plain]
        top[0].FullName = top[0].FamilyName = family
        top[0].Weight = "Regular"
    font.recalcTimestamp = False
    font.save(target)
    print(f"{target}: {target.stat().st_size} bytes, {len(font.getBestCmap())} characters")


def narrow_elsewhere(korean: TTFont, other: TTFont, characters: set[int]) -> set[int]:
    """What the Korean face lacks or draws at full width, and the other font has narrower."""
    ours, theirs = korean.getBestCmap(), other.getBestCmap()
    per_em = other["head"].unitsPerEm
    return {
        character
        for character in characters & set(theirs)
        if character not in ours
        or (
            korean["hmtx"][ours[character]][0] >= FULL_WIDTH
            and other["hmtx"][theirs[character]][0] * 1000 < FULL_WIDTH * per_em
        )
    }


def main() -> None:
    """Write the faces; each is a family of its own, so that nothing fakes a weight."""
    folder = Path(sys.argv[1])
    signs, common = ksx1001()
    signs = {code for code in signs | {*LATIN, *MORE} if is_visible(code)}
    TARGET.mkdir(exist_ok=True)
    regular = face(folder / "opentype/noto/NotoSansCJK-Regular.ttc")
    bold = face(folder / "opentype/noto/NotoSansCJK-Bold.ttc")
    other = TTFont(folder / "truetype/noto/NotoSans-Regular.ttf")
    narrow = narrow_elsewhere(regular, other, signs)
    subset(other, narrow, SIGNS, TARGET / "joulemark_signs.ttf")
    subset(bold, (signs - narrow) | common, HEADING, TARGET / "joulemark_heading_kr.otf")
    subset(regular, (signs - narrow) | {*SYLLABLES}, FAMILY, TARGET / "joulemark_sans_kr.otf")
    shown = sorted({*regular.getBestCmap(), *other.getBestCmap()})
    (TARGET / "characters.txt").write_text("".join(f"{item}\n" for item in ranges(shown)))


def is_visible(code: int) -> bool:
    """Whether a character is something to see; what only steers is left out."""
    return unicodedata.category(chr(code)) not in ("Cc", "Cf", "Cn", "Co", "Zl", "Zp")


def ranges(codes: list[int]) -> Iterator[str]:
    """Ascending code points as ranges: 0020-007E."""
    first = previous = codes[0]
    for code in [*codes[1:], codes[-1] + 2]:
        if code != previous + 1:
            yield f"{first:04X}-{previous:04X}"
            first = code
        previous = code


if __name__ == "__main__":
    main()
