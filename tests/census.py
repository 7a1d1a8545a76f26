"""Real rows of people: age, education, sex, race, … and whether employed, for 2015 to 2018 (277,677 rows).

They ship inside the wheel of nannyml 0.13.1, pinned by hash in census.txt. The files are taken out of it once, into
.census_cache/ of the checkout; the package itself is never imported.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".census_cache"
FILES = ("employment_MA_reference.pq", "employment_MA_analysis.pq", "employment_MA_analysis_target.pq")
LABEL = "employed"
SENSITIVE = ("SEX", "RAC1P")
FEATURES = (
    *("AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL"),
    *("ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P"),
)


def files() -> list[Path]:
    """The Parquet files; fetched on first use."""
    if not all((CACHE / name).exists() for name in FILES):
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                ["uv", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes",
                 "--target", folder, "--requirement", str(ROOT / "tests" / "census.txt")],
                check=True,
            )  # fmt: skip
            for name in FILES:
                shutil.copy(Path(folder) / "nannyml" / "datasets" / "data" / name, CACHE / name)
    return [CACHE / name for name in FILES]


@functools.cache
def rows() -> pa.Table:
    """All rows in order of `id`: the features (AGEP a double, the others codes as text), employed, year."""
    reference, analysis, target = (pq.read_table(path) for path in files())
    analysis = analysis.join(target.select(["id", LABEL]), "id")
    columns = ["id", *FEATURES, LABEL, "year"]
    table = pa.concat_tables([_plain(side.select(columns)) for side in (reference, analysis)])
    return table.sort_by("id").combine_chunks()


def _plain(table: pa.Table) -> pa.Table:
    fields = [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(fields))


def year(number: int) -> pa.Table:
    """The rows of one year."""
    return rows().filter(pc.equal(pc.field("year"), number))


def codes(table: pa.Table) -> pa.Table:
    """The table with every feature as a number, as a model takes it."""
    for name in FEATURES:
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.float64()))
    return table
