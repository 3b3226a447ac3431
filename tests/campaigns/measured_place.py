import pytest
@pytest.fixture(scope="session")
def measured(): pass
