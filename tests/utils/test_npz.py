"""The same arrays always give the same bytes, and what was written is read."""

import hashlib

import numpy as np

from gemma_finetune.utils.npz import read_arrays, write_arrays

ARRAYS = {"x": np.arange(10.0), "facts": np.array('{"a": 1}')}


def test_the_bytes_are_the_same_on_every_python(tmp_path):
    """Those of `np.savez` are not: Python 3.11.2 and 3.11.7 write other zip headers."""
    write_arrays(tmp_path / "a.npz", ARRAYS)
    digest = hashlib.md5((tmp_path / "a.npz").read_bytes()).hexdigest()
    assert digest == "57514534a139656c0f3ea055e0d60789"


def test_what_was_written_is_read_also_by_numpy(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as by_numpy:
        for found in (read_arrays(tmp_path / "a.npz"), by_numpy):
            assert list(found) == list(ARRAYS)
            for name, array in ARRAYS.items():
                np.testing.assert_array_equal(found[name], array, strict=True)
