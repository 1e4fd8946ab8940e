"""Reads a project's models and writes them as one JSON document. Run by teal:

python -m teal.extract --project DIR --models DIR --out FILE
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_IGNORED = {"__pycache__", "node_modules", "tests"}


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--project", "--models", "--out"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    project = os.path.abspath(options.project)
    folder = os.path.join(project, options.models)
    error = _extract(project, folder)

    from teal.registry import REGISTRY

    document: dict[str, Any] = {
        "formatVersion": 1,
        "tables": REGISTRY.tables,
        "views": REGISTRY.views,
        "warnings": REGISTRY.warnings,
    }
    if error:
        document["error"] = error
    with open(options.out, "w", encoding="utf-8") as out:
        json.dump(document, out)
    # Threads that models left running must not keep the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _extract(project: str, folder: str) -> dict[str, Any] | None:
    try:
        importlib.import_module("pydantic")
    except ImportError:
        return {
            "message": f"pydantic is not installed for {sys.executable}",
            "hint": f"{sys.executable} -m pip install pydantic, or set TEAL_PYTHON to a Python "
            "that has it",
        }
    from teal import compat, stand_in
    from teal.registry import REGISTRY, ModelError

    REGISTRY.project = project
    compat.install()
    sys.path.insert(0, project)
    for file in _model_files(folder):
        relative = os.path.relpath(file, project).replace(os.sep, "/")
        try:
            _name_declarations(_import(file, project))
        except ModelError as error:
            return {
                key: value
                for key, value in (
                    ("message", error.message),
                    ("hint", error.hint),
                    ("location", error.location),
                )
                if value
            }
        except SystemExit as error:
            return {
                "message": f"the model called sys.exit({error.code!r})",
                "hint": "a model declares; let it end by itself",
                "location": _user_place(error, project) or {"file": relative, "line": 1},
            }
        except SyntaxError as error:
            return _syntax_error(error, project, relative)
        except BaseException as error:  # the user's code may raise anything
            return {
                "message": f"{type(error).__name__}: {error}",
                "location": _user_place(error, project) or {"file": relative, "line": 1},
                "trace": _user_trace(error, project),
            }
    stand_in.warn_of_ignored()
    return None


def _model_files(folder: str) -> list[str]:
    """The model files below a folder, in a stable order.

    A project with a main.py is written to be loaded from there: its modules may import each other
    in a circle, which works in that order only.
    """
    files = list(_files_below(folder))
    main = os.path.join(folder, "main.py")
    return sorted(files, key=lambda file: file != main)


def _files_below(folder: str) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name in _IGNORED:
            continue
        if entry.is_dir():
            yield from _files_below(entry.path)
        elif entry.name.endswith(".py") and entry.name != "__init__.py":
            yield entry.path


def _import(file: str, project: str) -> Any:
    name = os.path.relpath(file, project).removesuffix(".py").replace(os.sep, ".")
    if all(part.isidentifier() for part in name.split(".")):
        return importlib.import_module(name)
    # A file such as `my-events.py` cannot be imported by name, and is a model all the same.
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _name_declarations(module: Any) -> None:
    """Tells the declarations the names of the variables that hold them."""
    from teal.registry import REGISTRY

    names = {id(value): name for name, value in vars(module).items() if not name.startswith("__")}
    for declared, location in REGISTRY.declared:
        if id(declared) in names:
            location.setdefault("declaration", names[id(declared)])


def _syntax_error(error: SyntaxError, project: str, relative: str) -> dict[str, Any]:
    file = error.filename or relative
    if os.path.isabs(file):
        file = os.path.relpath(file, project).replace(os.sep, "/")
    location: dict[str, Any] = {"file": file, "line": error.lineno or 1}
    if error.offset:
        location["column"] = error.offset
    return {"message": f"syntax error: {error.msg}", "location": location}


def _user_frames(error: BaseException, project: str) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [
        frame
        for frame in frames
        if frame.filename.startswith(project + os.sep) and not frame.filename.startswith(_HERE)
    ]


def _user_place(error: BaseException, project: str) -> dict[str, Any] | None:
    frames = _user_frames(error, project)
    if not frames:
        return None
    last = frames[-1]
    file = os.path.relpath(last.filename, project).replace(os.sep, "/")
    return {"file": file, "line": last.lineno or 1}


def _user_trace(error: BaseException, project: str) -> str:
    lines = ["Traceback (of the models):"]
    for frame in _user_frames(error, project):
        file = os.path.relpath(frame.filename, project).replace(os.sep, "/")
        lines.append(f"  {file}:{frame.lineno}, in {frame.name}")
        if frame.line:
            lines.append(f"    {frame.line}")
    lines += traceback.format_exception_only(type(error), error)
    return "\n".join(line.rstrip("\n") for line in lines)


if __name__ == "__main__":
    main()
