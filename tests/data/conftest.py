"""What the tests of the data stages share."""

import numpy as np
import pytest

from gemma_finetune.data.evidence import SharedText


@pytest.fixture(scope="session")
def nothing_shared(tmp_path_factory) -> str:
    """The path of a shared_text.npz of data whose rows share nothing."""
    path = tmp_path_factory.mktemp("nothing") / "shared_text.npz"
    SharedText(20, np.zeros(0, np.uint32)).save(path)
    return str(path)
