"""Puts the built documentation beside those of other versions.

python -m scripts.publish_site docs/_build/html DIR

DIR then holds a folder per version, `versions.json`, which the pages' switcher reads,
and an `index.html` that leads to the newest. Any server of static files can serve it.
"""

import argparse
import json
import shutil
import tomllib
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[1]


def publish(site: Path, target: Path, version: str) -> list[str]:
    """Copies a site into its version's folder, which is replaced.

    Args:
      site: folder of the built pages.
      target: folder of all versions; made if it is not there.
      version: of the site.

    Returns:
      The versions that `target` holds now, the newest first.
    """
    shutil.rmtree(target / version, ignore_errors=True)
    shutil.copytree(site, target / version)
    found = [path.parent.name for path in target.glob("*/index.html")]
    versions = sorted(filter(_is_version, found), key=Version, reverse=True)
    (target / "versions.json").write_text(json.dumps(versions) + "\n")
    (target / "index.html").write_text(
        f'<!doctype html>\n<meta charset="utf-8">\n<title>Documentation</title>\n'
        f'<meta http-equiv="refresh" content="0; url={versions[0]}/index.html">\n'
        f'<a href="{versions[0]}/index.html">Documentation of {versions[0]}</a>\n'
    )
    return versions


def _is_version(name: str) -> bool:
    try:
        Version(name)
    except InvalidVersion:
        return False
    return True


def main() -> None:
    """Publishes a site under the version of `pyproject.toml`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("site", type=Path, help="folder of the built pages")
    parser.add_argument("target", type=Path, help="folder of all versions")
    arguments = parser.parse_args()
    if not (arguments.site / "index.html").is_file():
        parser.error(f"{arguments.site} holds no index.html; build the site first")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    print(*publish(arguments.site, arguments.target, project["version"]))


if __name__ == "__main__":
    main()
