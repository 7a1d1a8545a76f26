#!/usr/bin/env bash
# pyarrow 26.0.1: Arrow's IPC writer takes a dictionary whose values are UUIDs (extension type arrow.uuid) without a
# word, and its reader refuses the whole file for it: it looks for the dictionary under the extension type, where the
# writer has put the extension type under the dictionary.
#
# Guess: UUIDs can be written and read, dictionaries of their bytes can be, and so can a dictionary of UUIDs; or the
# writer refuses it. Seen: it is noticed at the reader's, who has lost all other columns of that file, too.
# Output seen:
#   uuid: read back as extension<arrow.uuid>
#   dictionary of the bytes: read back as dictionary<values=fixed_size_binary[16], indices=int8, ordered=0>
#   dictionary of uuid: written, and refused: ArrowInvalid: Invalid storage type for UuidType
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import io
import sys
import uuid

import pyarrow as pa

RAW = pa.array([uuid.UUID(int=number).bytes for number in (7, 8)], pa.binary(16))
IDS, CODES = pa.ExtensionArray.from_storage(pa.uuid(), RAW), pa.array([0, 1, 0], pa.int8())


def read_back(column):
    table, sink = pa.table({"id": column}), io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    try:
        return f"read back as {pa.ipc.open_file(sink.getvalue()).read_all().schema.field('id').type}"
    except pa.ArrowInvalid as error:
        return f"written, and refused: ArrowInvalid: {str(error).partition(':')[0]}"


def expect(what, column, wanted):
    seen = read_back(column)
    print(f"{what}: {seen}")
    if seen != wanted:
        sys.exit(f"{what}: expected {wanted}")


expect("uuid", IDS, "read back as extension<arrow.uuid>")
expect(
    "dictionary of the bytes",
    pa.DictionaryArray.from_arrays(CODES, RAW),
    "read back as dictionary<values=fixed_size_binary[16], indices=int8, ordered=0>",
)
expect(
    "dictionary of uuid",
    pa.DictionaryArray.from_arrays(CODES, IDS),
    "written, and refused: ArrowInvalid: Invalid storage type for UuidType",
)
PYTHON
