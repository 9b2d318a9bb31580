"""Pages of parquet files: all that pyarrow writes are read, and pages that declare more than the footer are refused."""

import io
import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from paradp.policy.files.parquet_pages import pages
from paradp.policy.files.tables import read_table

ROWS = 3000
TABLE = pa.table(
    {
        "whole": pa.array(np.arange(ROWS) % 7),
        "number": pa.array([None if i % 3 == 0 else i / 7 for i in range(ROWS)]),
        "truth": pa.array([i % 2 == 0 for i in range(ROWS)]),
        "action": pa.array([[float(i), 0.5] if i % 5 else [] for i in range(ROWS)]),
        "text": pa.array([f"{i:05d}" * 3 for i in range(ROWS)]),
        "none": pa.nulls(ROWS),
    }
)


@pytest.mark.parametrize(
    ("compression", "dictionary", "version", "checksum"),
    list(itertools.product(["snappy", "none"], [True, False], ["1.0", "2.0"], [True, False])),
)
def test_all_pages_that_pyarrow_writes_are_read(tmp_path, compression, dictionary, version, checksum):
    path = tmp_path / "table.parquet"
    pq.write_table(
        TABLE,
        path,
        compression=compression,
        use_dictionary=dictionary,
        data_page_version=version,
        data_page_size=2000,
        row_group_size=1000,
        write_page_checksum=checksum,
    )
    footer = pq.ParquetFile(path).metadata
    with path.open("rb") as file:
        for group, column in itertools.product(range(footer.num_row_groups), range(footer.num_columns)):
            chunk = footer.row_group(group).column(column)
            begin = min(place for place in (chunk.dictionary_page_offset, chunk.data_page_offset) if place)
            found = list(pages(file, begin, begin + chunk.total_compressed_size))
            assert sum(page.values for page in found if not page.dictionary) == chunk.num_values
            assert [page.dictionary for page in found[:1]] == [chunk.has_dictionary_page]
    read = read_table(path, ("whole", "action"))
    expected = TABLE.select(["whole", "number", "truth", "action", "none"]).to_pandas()
    pd.testing.assert_frame_equal(read, expected)


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def header(size: int, length: int, values: int, unpacked: int | None = None) -> bytes:
    """The header of a data page of `size` bytes, filled up by a statistic to `length` bytes."""
    content = size if unpacked is None else unpacked
    start = b"\x15\x00\x15" + varint(2 * content) + b"\x15" + varint(2 * size)
    begun = start + b"\x2c\x15" + varint(2 * values) + b"\x15\x00" + b"\x15\x06" + b"\x15\x06" + b"\x1c\x18"
    filler = length - len(begun) - 4
    assert 0 <= filler < 128  # its length takes one byte
    return begun + varint(filler) + bytes(filler) + b"\x00\x00\x00"


def page_of(content: bytes) -> tuple[int, int, int]:
    """The only data page of a file with one column: offset and length of its header, and the page's size."""
    chunk = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0)
    begin = chunk.data_page_offset
    (page,) = pages(io.BytesIO(content), begin, begin + chunk.total_compressed_size)
    return begin, chunk.total_compressed_size - page.bytes, page.bytes


@pytest.fixture
def small() -> bytes:
    """Writes a list of numbers without compression."""
    written = io.BytesIO()
    table = pa.table({"action": [[0.0, 1.0]] * 8})
    pq.write_table(table, written, compression="none", use_dictionary=False, store_schema=False)
    return written.getvalue()


CLAIMS = {
    "values beyond the footer's": (dict(values=2 * 10**9), "claim another number of values than the footer"),
    "fewer values": (dict(values=15), "claim another number of values than the footer"),
    "a content of two gigabytes": (dict(values=16, unpacked=2**31 - 1), "it claims to hold 2.1e\\+09 bytes"),
    "a content of less than nothing": (dict(values=16, unpacked=2**32 - 5), "a page's header is damaged"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_page_that_claims_more_is_refused(tmp_path, small, claim):
    path = tmp_path / "t.parquet"
    changes, sentence = CLAIMS[claim]
    begin, length, size = page_of(small)
    sound = small[:begin] + header(size, length, 16) + small[begin + length :]
    path.write_bytes(sound)
    assert [row.tolist() for row in read_table(path, ("action",))["action"]] == [[0.0, 1.0]] * 8
    path.write_bytes(small[:begin] + header(size, length, **changes) + small[begin + length :])
    with pytest.raises(ValueError, match=rf"t\.parquet.*{sentence}"):
        read_table(path, ("action",))


def test_a_dictionary_that_claims_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": np.arange(900.0)}), path, compression="none", store_schema=False)
    content = path.read_bytes()
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    begin = chunk.dictionary_page_offset
    first = next(iter(pages(io.BytesIO(content), begin, begin + chunk.total_compressed_size)))
    assert first.dictionary and first.values == 900
    old = varint(2 * 900)
    at = content.index(old, begin)
    path.write_bytes(content[:at] + varint(2 * 8100) + content[at + len(old) :])
    with pytest.raises(ValueError, match="a dictionary of 'n' claims more values than it has bytes"):
        read_table(path, ("n",))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\x15",
        b"\xff" * 50,
        b"\x1c" * 50,
        b"\x15\x00\x15\x02\x15\xff\xff\xff\xff\x7f\x00",
        b"\x19\xfc" + b"\xff" * 9,
    ],
)
def test_an_invalid_header_is_refused(content):
    with pytest.raises(ValueError, match="page"):
        list(pages(io.BytesIO(content), 0, max(len(content), 1)))


def test_noise_is_refused_or_read_in_no_time():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        content = rng.bytes(int(rng.integers(1, 60)))
        try:
            list(pages(io.BytesIO(content), 0, len(content)))
        except ValueError as error:
            assert "page" in str(error)


def test_rows_of_empty_lists_take_their_memory(tmp_path):
    """Each becomes a numpy array, even if the file stores almost nothing."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"action": pa.array([[]] * 2_000_000, pa.list_(pa.float64()))}), path, store_schema=False)
    with pytest.raises(ValueError, match="it claims to hold"):
        read_table(path, ("action",))
