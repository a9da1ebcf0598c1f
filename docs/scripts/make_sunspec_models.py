"""Make configs/joulemark_profiles/sunspec/models.json from the model files of pysunspec2.

Run from the root of the repository, with the wheel of pysunspec2 at hand:
    pip download --no-deps pysunspec2==1.3.7
    python docs/scripts/make_sunspec_models.py pysunspec2-1.3.7-py3-none-any.whl
Kept: of the models in MODELS the name, label, type, size, scale factor and unit of every point, and
how groups are nested and repeated; of all others their label. Dropped: descriptions, symbols, what
may be written.
"""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

TARGET = Path("configs/joulemark_profiles/sunspec/models.json")
FOLDER = "sunspec2/models/json/model_"
MODELS = (
    1, *range(101, 104), *range(111, 114), 160, *range(201, 205), *range(211, 215),
    *range(302, 309), *range(701, 715),
)  # fmt: skip
KEPT = ("name", "type", "size", "sf", "units", "label")


def group_of(found: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a group; `count` only of one that repeats."""
    kept: dict[str, Any] = {"name": found["name"]}
    if found.get("count", 1) != 1:
        kept["count"] = found["count"]
    kept["points"] = [
        {key: p[key] for key in KEPT if p.get(key) is not None} for p in found["points"]
    ]
    if "groups" in found:
        kept["groups"] = [group_of(inner) for inner in found["groups"]]
    return kept


def text_of(value: Any, indent: int = 0) -> str:
    """JSON with one line for each point."""
    pad = " " * indent
    if isinstance(value, dict) and not set(value) <= set(KEPT):
        rows = [
            f"{pad} {json.dumps(k)}: {text_of(v, indent + 1).lstrip()}" for k, v in value.items()
        ]
        return f"{pad}{{\n" + ",\n".join(rows) + f"\n{pad}}}"
    if isinstance(value, list):
        rows = [text_of(item, indent + 1) for item in value]
        return f"{pad}[\n" + ",\n".join(rows) + f"\n{pad}]"
    return pad + json.dumps(value, ensure_ascii=False)


def main(wheel: str) -> None:
    """Write the file; the same wheel gives the same bytes."""
    models, labels = {}, {}
    with zipfile.ZipFile(wheel) as packed:
        for name in sorted(packed.namelist()):
            if name.startswith(FOLDER):
                model = json.loads(packed.read(name))
                labels[model["id"]] = str(model["group"].get("label") or model["group"]["name"])
                if model["id"] in MODELS:
                    models[model["id"]] = group_of(model["group"])
    document = {
        "source": f"{Path(wheel).name}, sunspec2/models/json, by SunSpec Alliance",
        "licence": "Apache-2.0",
        "changed": "shortened by docs/scripts/make_sunspec_models.py, which says what is left out",
        "labels": {str(i): labels[i] for i in sorted(labels)},
        "models": {str(i): models[i] for i in MODELS},
    }
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text_of(document) + "\n", "utf-8")
    print(f"{TARGET}: {TARGET.stat().st_size} bytes, {len(models)} models, {len(labels)} labels")


if __name__ == "__main__":
    main(sys.argv[1])
