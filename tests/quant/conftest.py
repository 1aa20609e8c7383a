"""The model that the tests of quantization change."""

import pytest

from mpqbench.conformance.models import tiny_transformer


@pytest.fixture
def transformer():
    return tiny_transformer()
