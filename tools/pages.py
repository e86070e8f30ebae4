"""Make the site of pages: the notebooks, the texts and the package's docstrings become build/site/, with Sphinx."""

import ast
import json
import shutil
import subprocess
import sys
import tempfile
from itertools import takewhile
from pathlib import Path

from build_folder import BUILD, TEMPORARY, usable
from d2lnorm.course import explorables
from npm_packages import PackageMissing, unpack

ROOT = Path(__file__).parent.parent
TEXTS = "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs", "data/README.md", "d2lnorm"
TEXTS += ("tools/cell_filter.py",)  # to which the README leads
FOLDED = {"proof", "solution"}  # tags of cells that are folded


def prepared(notebook: dict) -> dict:
    """Return a notebook with what Sphinx asks for: the tag that folds a cell, its title, and figures' alt texts."""
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        tags, options = cell["metadata"].get("tags", []), cell["metadata"].setdefault("mystnb", {})
        if kind := FOLDED & set(tags):
            cell["metadata"]["tags"] = sorted({*tags, "hide-input"})
            comment = takewhile(lambda line: line.startswith("#"), cell["source"])
            title = "Solution" if "solution" in kind else " ".join(line.strip("# \n") for line in comment)
            options["code_prompt_show"] = options["code_prompt_hide"] = title
        if "widget" in tags:
            cell["outputs"] = [without_kernel("".join(cell["source"]))]
        for output in cell["outputs"]:
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                options["image"] = {"alt": alt}
    return notebook


def without_kernel(source: str) -> dict:
    """Return the output that stands on a page for a cell like `explorables.one_batch(values=[1, 2, 9])`."""
    (call,) = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call))
    state = {argument.arg: ast.literal_eval(argument.value) for argument in call.keywords}
    html = explorables.element(call.func.attr, linked=True, **state)
    return {"output_type": "display_data", "data": {"text/html": html}, "metadata": {}}


def gather(folder: Path) -> None:
    """Put into a folder all that the site is made of."""
    for name in TEXTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (folder / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, folder / name)
    (folder / "docs" / "site").rename(folder / "site")
    for path in [*(folder / "site").glob("*.md"), folder / "site" / "conf.py"]:
        path.rename(folder / path.name)
    (folder / "site").rename(folder / "_static")
    shutil.copy(unpack("mathjax-3.2.2") / "package" / "es5" / "tex-svg-full.js", folder / "_static")
    (folder / "_static" / "explorables.js").write_text(explorables.script(), encoding="utf-8")
    (folder / "notebooks").mkdir()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = prepared(json.loads(path.read_text(encoding="utf-8")))
        (folder / "notebooks" / path.name).write_text(json.dumps(notebook), encoding="utf-8")


def main() -> int:
    """Return the exit status; what Sphinx finds wrong, such as a link that leads nowhere, is on stderr."""
    build = usable(BUILD)
    with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory(dir=build, prefix=TEMPORARY) as new:
        try:
            gather(Path(source))
        except PackageMissing as error:
            print(error, file=sys.stderr)
            return 1
        command = [sys.executable, "-m", "sphinx", "-qWEj", "auto", "--keep-going", "-d", f"{source}/.trees"]
        status = subprocess.run([*command, source, f"{new}/site"]).returncode
        if not status:
            shutil.rmtree(build / "site", ignore_errors=True)
            Path(new, "site").rename(build / "site")
            print(f"Open {build / 'site' / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
