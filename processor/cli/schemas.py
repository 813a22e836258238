"""`sendlog schemas export`: write the contracts as JSON Schema and AsyncAPI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from schemas.json_schemas import documents

app = typer.Typer(help="The contracts, for other programs.", no_args_is_help=True)


@app.command("export")
def export_schemas(
    folder: Annotated[Path, typer.Argument(help="Where to.")] = Path("schemas/exported"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if a file differs.")
    ] = False,
) -> None:
    """Write JSON Schema and AsyncAPI of every contract."""
    changed = []
    for name, document in documents().items():
        path = folder / name
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        if check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                changed.append(str(path))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    if changed:
        print(f"differ from the code: {', '.join(changed)}; run sendlog schemas export")
        raise typer.Exit(1)
