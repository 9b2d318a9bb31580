"""Files: reading untrusted files without executing code, atomic writing, and one writer for each output.

limits.py           largest file sizes, and largest contents that a file may declare
reading.py          small files: JSON, text, digests
formats.py          the format version of a document
tensors.py          safetensors, reading
tensor_writing.py   safetensors, writing
zarr_store.py       zarr 3; zstd.py checks its chunks
zarr2.py            zarr 2, array by array
hdf5.py             HDF5
image_arrays.py     images in arrays: order of the axes, size, pixels
memory.py           a memory limit for calls into a library
tables.py           parquet; parquet_pages.py checks its pages
columns.py          columns of large parquet files as arrays
pictures.py         PNG and JPEG
writing.py          atomic writes that never follow a link out of its folder
folders.py          new folders, whole or not at all
lock.py             locks on outputs

Nothing here depends on robots or policies. h5py, zarr and pyarrow are imported where they are used.
"""

from paradp.policy.files.lock import OutputLock, refuse_filled
from paradp.policy.files.writing import write_whole

__all__ = ["OutputLock", "refuse_filled", "write_whole"]
