"""Tensors that stay in their file, and damaged files by name."""

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from gemma_finetune.formats.safetensors_file import mapped_tensor
from gemma_finetune.utils.errors import UserError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_mapped_tensor_is_the_files_own(tmp_path, dtype):
    path = tmp_path / "model.safetensors"
    tensors = {name: RNG.standard_normal((3, 5)).astype(dtype) for name in ("a", "b", "c")}
    save_file(tensors, path, metadata={"format": "pt"})

    for name, tensor in tensors.items():
        found = mapped_tensor(path, name)
        np.testing.assert_array_equal(found, tensor)
        assert found.dtype == tensor.dtype
        with pytest.raises(ValueError, match="read-only"):
            found[0, 0] = 0


def test_a_tensor_that_cannot_be_mapped_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"numbers": np.arange(4), "weights": np.ones((2, 2), np.float32)}, path)
    with pytest.raises(UserError, match=r"model\.safetensors: .*absent"):
        mapped_tensor(path, "absent")
    with pytest.raises(UserError, match=r"model\.safetensors: .*I64"):
        mapped_tensor(path, "numbers")

    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged or cut short"):
        mapped_tensor(path, "weights")
