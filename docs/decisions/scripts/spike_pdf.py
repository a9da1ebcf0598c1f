# ruff: noqa: PLC0415 - each library is imported where it is measured
"""Compare PDF writers for the report: one text, one long table, vector charts, Hangul.

    python docs/decisions/scripts/spike_pdf.py LIBRARY FOLDER

LIBRARY is fpdf2, reportlab or typst, installed with pypdf in an environment of its own (reportlab
also with svglib). FOLDER holds `regular` and `bold` (.otf and .ttf) and `report.html`, a report as
`joulemark report` writes it, whose charts are drawn. Each writer makes what the report needs: A4,
a banner and a page number on every page, a heading, a paragraph in Korean and English, charts, and
a table of 400 rows under a repeated head. Printed: seconds, size, pages, whether the bytes are the
same in three processes with other hash seeds and time zones, what pypdf reads back, and fonts.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

BANNER = "Replayed data: slot and sample times are simulated. 재생된 데이터입니다."
TITLE = "강원 철강 3공장 펌프실 인버터 교체 — Pump house: variable speed drives"
TEXT = "절감량(회피 에너지) 30679 ± 1845 kWh, 신뢰수준 90 %. "
TEXT = (TEXT + "Avoided energy \u221252.5 °C, m², CO₂e. ") * 6
HEAD = ("월 / month", "예측, kWh", "실측, kWh", "절감, kWh", "±")
ROWS = [
    (f"2018-{k % 12 + 1:02}", f"{k}.125", f"{k * 7}.5", f"{k * 3}.25", "12.5") for k in range(400)
]
ISSUED_S = 1_795_000_000
WANTED = (
    "절감량(회피",
    "신뢰수준 90",
    "펌프실 인버터",
    "30679 ± 1845 kWh",
    "variable speed drives",
)


def charts(folder: Path) -> list[str]:
    """The charts of the page, as SVG with their style inside."""
    page = (folder / "report.html").read_text("utf-8")
    style = {
        "grid": 'stroke="#dde4ea" fill="none"', "zero": 'stroke="#5b6b7b" fill="none"',
        "model": 'stroke="#1c2733" fill="none"', "band": 'fill="#bfe0d3"',
        "line": 'stroke="#2867b2" fill="none"', "dot": 'fill="#2867b2"',
        "tick": 'font-size="11"', "axis": 'font-size="11"', "day": 'fill="#a9d5c4"',
    }  # fmt: skip

    def styled(match: re.Match[str]) -> str:
        return style.get(match[1].split()[0], "")

    found = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    plain = [re.sub(r'class="([^"]*)"', styled, svg) for svg in found]
    return [svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) for svg in plain]


def with_fpdf2(folder: Path) -> bytes:
    """The sample by fpdf2."""
    from datetime import UTC, datetime

    from fpdf import FPDF
    from fpdf.svg import SVGObject

    class Page(FPDF):
        def header(self) -> None:
            self.set_font("noto", "B", 8)
            self.cell(0, 6, BANNER, new_x="LMARGIN", new_y="NEXT")

        def footer(self) -> None:
            self.set_y(-12)
            self.set_font("noto", "", 8)
            self.cell(0, 6, f"{self.page_no()} / {{nb}}", align="R")

    pdf = Page(format="A4")
    pdf.set_creation_date(datetime.fromtimestamp(ISSUED_S, UTC))
    pdf.set_title(TITLE)
    pdf.set_lang("ko")
    for style, name in (("", "regular"), ("B", "bold")):
        pdf.add_font("noto", style, folder / f"{name}.ttf")
    pdf.add_page()
    pdf.set_font("noto", "B", 18)
    pdf.multi_cell(0, 9, TITLE, new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("noto", "", 9)
    pdf.multi_cell(0, 5, TEXT, new_x="LMARGIN", new_y="NEXT")
    for svg in charts(folder):
        drawing = SVGObject(svg)
        drawing.draw_to_page(pdf, x=pdf.l_margin, y=pdf.get_y())
        pdf.set_y(min(pdf.get_y() + 60, 250))
    with pdf.table(text_align="RIGHT", first_row_as_headings=True) as table:
        for row in (HEAD, *ROWS):
            table.row(row)
    return bytes(pdf.output())


def with_reportlab(folder: Path) -> bytes:
    """The sample by reportlab."""
    from reportlab import rl_config
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Table
    from svglib.svglib import svg2rlg

    rl_config.invariant = 1
    for name in ("regular", "bold"):
        pdfmetrics.registerFont(TTFont(name, folder / f"{name}.ttf"))
    out = BytesIO()

    def frame(canvas: Canvas, _document: object) -> None:
        canvas.setFont("bold", 8)
        canvas.drawString(40, 820, BANNER)
        canvas.setFont("regular", 8)
        canvas.drawString(500, 20, str(canvas.getPageNumber()))

    body = ParagraphStyle("body", fontName="regular", fontSize=9, leading=13, wordWrap="CJK")
    title = ParagraphStyle("title", fontName="bold", fontSize=18, leading=22)
    document = SimpleDocTemplate(out, pagesize=A4, title=TITLE, lang="ko")
    story = [Paragraph(TITLE, title), Paragraph(TEXT, body)]
    for svg in charts(folder):
        drawing = svg2rlg(BytesIO(svg.encode()))
        drawing.scale(0.5, 0.5)
        story.append(drawing)
    table = Table([HEAD, *ROWS], repeatRows=1, style=[("FONT", (0, 0), (-1, -1), "regular", 9)])
    document.build([*story, table], onFirstPage=frame, onLaterPages=frame)
    return out.getvalue()


def with_typst(folder: Path) -> bytes:
    """The sample by typst: data as JSON, one template, PDF/A-2a and PDF/UA-1."""
    import typst

    template = rb"""
#let d = json(bytes(sys.inputs.d))
#set document(title: d.title)
#set text(font: ("Joulemark Sans KR", "Joulemark Signs"), size: 9pt, lang: "ko", fallback: false)
#set page(paper: "a4", header: text(
  font: ("Joulemark Heading KR", "Joulemark Sans KR", "Joulemark Signs"), d.banner),
  footer: context counter(page).display("1 / 1", both: true))
#title()
#d.text
#for s in d.charts { image(bytes(s), format: "svg", width: 50%, alt: "chart") }
#table(
  columns: d.head.len(), align: right, table.header(repeat: true, ..d.head), ..d.rows.flatten()
)
"""
    data = {"title": TITLE, "banner": BANNER, "text": TEXT, "charts": charts(folder), "head": HEAD}
    fonts = typst.Fonts(
        include_system_fonts=False,
        include_embedded_fonts=False,
        font_paths=[str(folder)],
    )
    compiler = typst.Compiler(font_paths=fonts)
    made = compiler.compile(
        template,
        format="pdf",
        sys_inputs={"d": json.dumps({**data, "rows": ROWS})},
        timestamp=ISSUED_S,
        pdf_standards=["a-2a", "ua-1"],
    )
    assert isinstance(made, bytes)
    return made


WRITERS = {"fpdf2": with_fpdf2, "reportlab": with_reportlab, "typst": with_typst}
MODULES = {"fpdf2": "fpdf", "reportlab": "reportlab.platypus", "typst": "typst"}


def main() -> None:
    """One library's line."""
    library, folder = sys.argv[1], Path(sys.argv[2])
    if len(sys.argv) > 3:
        start = time.perf_counter()
        __import__(MODULES[library])
        imported = time.perf_counter()
        data = WRITERS[library](folder)
        first = time.perf_counter()
        WRITERS[library](folder)
        again = time.perf_counter()
        Path(sys.argv[3]).write_bytes(data)
        print(json.dumps([imported - start, first - imported, again - first]))
        return
    from pypdf import PdfReader

    digests, files = [], []
    with tempfile.TemporaryDirectory() as out:
        for seed, zone in (("0", "UTC"), ("1", "Asia/Seoul"), ("77", "America/St_Johns")):
            file = Path(out) / f"{seed}.pdf"
            environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone}
            ran = subprocess.run(
                [sys.executable, __file__, library, str(folder), str(file)],
                env=environment, stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            files.append(file.read_bytes())
            digests.append(hashlib.sha256(files[-1]).hexdigest())
            seconds = json.loads(ran.stdout)
    Path(f"{library}.pdf").write_bytes(files[0])
    reader = PdfReader(BytesIO(files[0]))
    texts = [" ".join(page.extract_text().split()) for page in reader.pages]
    fonts = {str(f["/BaseFont"]) for p in reader.pages for f in
             (x.get_object() for x in p["/Resources"].get("/Font", {}).values())}  # fmt: skip
    print(library, "import, first, again, s:", *(f"{second:.2f}" for second in seconds))
    print(f"  {len(files[0]):,} bytes, {len(texts)} pages, {len(set(digests))} digest(s) of 3 runs")
    print("  read back:", {word: word in texts[0] for word in WANTED})
    print("  banner on", sum("재생된 데이터" in text for text in texts), "pages, head on",
          sum("실측, kWh" in text for text in texts))  # fmt: skip
    catalogue = reader.trailer["/Root"]
    print("  tagged:", "/StructTreeRoot" in catalogue, "language:", catalogue.get("/Lang"), fonts)


if __name__ == "__main__":
    main()
