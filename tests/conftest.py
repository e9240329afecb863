"""What all tests share: a cache of compiled objects of their own, and how long a property is searched."""

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No deadline: the first example of a property pays for imports and compilation.
settings.register_profile("mlc", deadline=None, max_examples=50, print_blob=True)
settings.register_profile("thorough", parent=settings.get_profile("mlc"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "mlc"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected IR of golden tests")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own() -> Iterator[None]:
    """Compiled objects are neither read from nor left in the user's cache, unless MLC_CACHE_DIR names one."""
    if "MLC_CACHE_DIR" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="mlc-tests-") as folder:
        os.environ["MLC_CACHE_DIR"] = folder
        yield
        del os.environ["MLC_CACHE_DIR"]
