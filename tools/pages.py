"""An executed notebook in build/: its copy and its HTML page."""

from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from build_folder import put, write
from npm_packages import mathjax

TEMPLATES = Path(__file__).parent / "templates"


def publish(nb: nbformat.NotebookNode, name: str, build: Path) -> Path:
    """Put a copy, and the page made of it, into build/; return the page's path."""
    target = put(name, nbformat.writes(nb) + "\n", build)
    # Without embed_images: it closes each <details> at once, so that folded answers stand open.
    exporter = HTMLExporter(extra_template_basedirs=[str(TEMPLATES)], template_name="page")
    resources = {"metadata": {"name": target.stem}, "mathjax": mathjax()}  # without it the page asks the web
    html, _ = exporter.from_notebook_node(nb, resources)
    page = target.with_suffix(".html")
    write(page, html)
    return page
