"""What several test files use."""
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data():
    "The folder of real data sets: AESEG_DATA, else ../shared/data beside the repository. Skips where there is none."
    folder = Path(os.environ.get("AESEG_DATA") or ROOT / "../shared/data")
    if not folder.is_dir(): pytest.skip(f"no real data: {folder} does not exist; set AESEG_DATA to a folder of data sets")
    return folder.resolve()
