"""Runs the extractor as teal does, on a project in a temporary directory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "crates/teal-models/schema/model.schema.json").read_text())

Extract = Callable[..., dict[str, Any]]


@pytest.fixture
def extract(tmp_path: Path) -> Extract:
    def run(models: str | dict[str, str], project: Path | None = None) -> dict[str, Any]:
        at = project or tmp_path / "project"
        files = {"models.py": models} if isinstance(models, str) else models
        for name, text in files.items():
            path = at / "app" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        out = tmp_path / "document.json"
        command = [sys.executable, "-m", "teal.extract", "--project", str(at)]
        ended = subprocess.run(
            [*command, "--models", "app", "--out", str(out)],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PYTHONPATH": str(ROOT / "sdk/python/src"), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert ended.returncode == 0, ended.stderr
        document: dict[str, Any] = json.loads(out.read_text())
        jsonschema.validate(document, SCHEMA)
        return document

    return run
