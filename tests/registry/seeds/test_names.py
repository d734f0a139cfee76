"""All tests that the seed's tasks T02 to T10 name are there, each once, and pytest collects them."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from tests.processes import ROOT, program

NAMES = {
    "T02": """
        test_backend_type_serialization
        test_backend_status_serialization
        test_discovery_source_serialization
        test_model_creation
        test_model_json_roundtrip
    """,
    "T03": """
        test_backend_creation
        test_backend_view_from_backend
        test_backend_view_json_roundtrip
        test_backend_default_values
    """,
    "T04": """
        test_error_duplicate_backend
        test_error_backend_not_found
        test_error_display
    """,
    "T05": """
        test_registry_new_empty
        test_add_backend_success
        test_add_backend_duplicate_error
        test_remove_backend_success
        test_remove_backend_not_found
        test_get_backend_found
        test_get_backend_not_found
        test_get_all_backends
        test_backend_count
    """,
    "T06": """
        test_model_index_updated_on_add
        test_model_index_updated_on_remove
        test_get_backends_for_model_single
        test_get_backends_for_model_multiple
        test_get_backends_for_model_none
        test_get_healthy_backends_includes_healthy
        test_get_healthy_backends_excludes_unhealthy
        test_get_healthy_backends_excludes_draining
        test_model_count
    """,
    "T07": """
        test_update_status_changes_status
        test_update_status_sets_timestamp
        test_update_status_sets_error
        test_update_status_clears_error
        test_update_status_not_found
        test_update_models_replaces_list
        test_update_models_updates_index
        test_update_models_not_found
    """,
    "T08": """
        test_increment_pending_success
        test_increment_pending_returns_new_value
        test_decrement_pending_success
        test_decrement_pending_clamps_to_zero
        test_decrement_pending_at_zero_logs_warning
        test_update_latency_first_sample
        test_update_latency_ema_calculation
        test_update_latency_zero_valid
    """,
    "T09": """
        prop_increment_decrement_balanced
        prop_concurrent_increments_correct
        prop_latency_bounded
        prop_decrement_never_negative
    """,
    "T10": """
        test_concurrent_reads_no_deadlock
        test_concurrent_read_write_safe
        test_concurrent_add_remove_same_id
        test_concurrent_model_queries
    """,
}
"""By task: 46 unit tests, 4 properties, 4 stress tests."""

ALL = {name for names in NAMES.values() for name in names.split()}


def functions(path: Path) -> list[str]:
    """Names of the functions of a module."""
    return [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]


def test_pytest_collects_every_name_of_the_seed() -> None:
    """None of the 54 is missing."""
    assert len(ALL) == 54
    folder = str(Path(__file__).parent)
    with program("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", folder) as run:
        assert run.ends() == 0, run.stdout + run.stderr
        collected = {line.rpartition("::")[2].partition("[")[0] for line in run.stdout.splitlines() if "::" in line}
    assert ALL - collected == set()


def test_every_name_of_the_seed_is_used_once() -> None:
    """Whoever runs one of them by its name runs that test and no other."""
    counted = Counter(name for path in (ROOT / "tests").rglob("*.py") for name in functions(path) if name in ALL)
    assert counted == dict.fromkeys(ALL, 1)
