"""Sphinx's settings for the site of pages. `make pages` puts what they name into one folder and calls Sphinx there."""

import re

project = "d2lnorm"
author = copyright = "the authors of d2lnorm"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["d2lnorm", "tools", "README.md"]  # the last is in index.md

nb_execution_mode = "off"  # outputs as they are stored
nb_render_markdown_format = "myst"  # links in an output lead to pages, too
nb_ipywidgets_js = {}  # no widget is stored, and require.js is in the web
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # an exercise's title is of the third level, wherever it stands
mathjax_path = "tex-svg-full.js"
mathjax3_config = {"options": {"menuOptions": {"settings": {"assistiveMml": False}}}}

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False  # torch's name pages that are not here
autodoc_typehints = "signature"
napoleon_numpy_docstring = False

html_theme = "sphinx_book_theme"
html_title = "d2lnorm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["enlarge.js", "explorables.js"]
html_copy_source = False
html_use_index = html_domain_indices = False  # there is a search
html_show_sphinx = False
html_theme_options = {
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "use_download_button": False,
    "navbar_persistent": [],  # the search is at the side
}
html_context = {"default_mode": "auto"}  # dark or light as the reader's system has it


def in_sphinx_s_language(app, what, name, obj, options, lines):
    """Turn a docstring's `code` into what Sphinx takes for code, and the star of a shape (N, C, *) into a star."""
    for n, line in enumerate(lines):
        parts = re.split(r"(`+[^`]+`+)", line)
        parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
        parts[1::2] = [f"``{part.strip('`')}``" for part in parts[1::2]]
        lines[n] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", in_sphinx_s_language)
