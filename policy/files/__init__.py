"""Files: read what comes from outside without running it, write so that nothing is lost, and one writer for each output.

limits.py       how large a file may be, and what it may claim to hold
reading.py      small files: JSON, text, digests
formats.py      the version of a document's format
tensors.py      safetensors
zarr_store.py   zarr 3, whose chunks zstd.py looks through
hdf5.py         HDF5
memory.py       a bound on what a library may allocate
tables.py       parquet, whose pages parquet_pages.py walks through
columns.py      columns of large parquet files as arrays
writing.py      whole files, through no link that leads out of its folder

Nothing here is of robots or policies. h5py, zarr and pyarrow are imported where they are used.
"""

from paradp.policy.files.lock import OutputLock, refuse_filled
from paradp.policy.files.writing import write_whole

__all__ = ["OutputLock", "refuse_filled", "write_whole"]
