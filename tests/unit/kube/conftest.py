import pytest

pytest.register_assert_rewrite("tidegate.testing.apiserver_conformance")
pytest.register_assert_rewrite("tidegate.testing.apiserver_conformance_lists")
