"""The documentation site: `sphinx-build -W -b html docs docs/_build/html`.

Reading it needs no net: mathematics come with it, and nothing is looked up elsewhere.
"""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

from extensions import mathjax, notebooks, results, sliders  # noqa: E402

_project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
repository = _project["urls"]["Repository"].rstrip("/")

project = _project["name"]
author = f"the authors of {project}"
copyright = author
version = release = _project["version"]
language = "en"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "myst_nb",
    "extensions.citation",
    "extensions.signatures",
    "extensions.fields",
    "extensions.links",
    "extensions.names",
    "extensions.complete",
]
exclude_patterns = [
    "_build",
    "_templates",
    "extensions",
    "jupyter_execute",
    "Thumbs.db",
]

# tests/test_notebooks.py executes them anew; the site shows the outputs they keep.
nb_execution_mode = "off"
nb_merge_streams = True
notebooks.copy(ROOT / "notebooks", HERE / "notebooks")

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

mathjax_path = mathjax.NAME
mathjax3_config = {"options": {"enableMenu": False}}
html_static_path = ["_static", str(mathjax.fetch(HERE / "_build" / "mathjax"))]

# What is ours must be found; other packages' pages would need the net.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!arsg_optax).*")]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
maximum_signature_line_length = 72
python_display_short_literal_types = True
add_module_names = False
toc_object_entries_show_parents = "hide"

# A notebook's outputs and a docstring's prompts are not for copying.
copybutton_selector = "div:not(.output) > div.highlight pre"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_extra_path = [
    str(sliders.write(HERE / "_build" / "sliders")),
    str(results.write(ROOT / "results" / "report.html", HERE / "_build" / "results")),
]
html_theme = "furo"
html_title = project
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
templates_path = ["_templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/versions.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
# The default dark style underlines every name that is imported.
pygments_dark_style = "a11y-dark"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "source_repository": repository,
    "source_branch": "main",
    "source_directory": "docs/",
    "navigation_with_keys": True,
}
