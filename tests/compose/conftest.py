"""The service in containers: `make compose-test` runs these tests, `make test` does not."""

import os

collect_ignore_glob = [] if os.environ.get("CONTAINER_TESTS") else ["test_*.py"]
