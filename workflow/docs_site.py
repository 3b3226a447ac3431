"""What mkdocs does besides: README and CONTRIBUTING become pages, and what pages link to comes with them.

Documents link to files of the repository by relative paths. Those of `docs/` are pages of the site. Any other
file is copied into it. A link to a folder becomes its name, as code.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
LINK = re.compile(r"(!?)\[([^]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside `docs/`, and the files that pages link to."""
    written = [file for file in files if file.src_uri.endswith(".md")]
    sources = {file.src_uri: (f"docs/{file.src_uri}", file.content_string) for file in written}
    sources |= {page: (name, (ROOT / name).read_text(encoding="utf-8")) for name, page in PAGES.items()}
    for page, (source, text) in sources.items():
        linked = {}
        content = LINK.sub(lambda found, source=source, linked=linked: _moved(found, source, linked), text)
        if old := files.get_file_from_path(page):
            files.remove(old)
        files.append(File.generated(config, page, content=content))
        for target, path in linked.items():
            if not files.get_file_from_path(target):
                files.append(File.generated(config, target, abs_src_path=str(path)))
    return files


def _moved(found: re.Match[str], source: str, linked: dict[str, Path]) -> str:
    """A link as it has to be in the site; what it needs is added to `linked`."""
    image, words, target, anchor = found.groups()
    name = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    path = ROOT / name
    if not path.is_file():
        return words if words.startswith("`") else f"`{words}`"
    if name.startswith("docs/") or name in PAGES:
        place = PAGES.get(name, name.removeprefix("docs/"))
    else:
        place = name.removesuffix(".md") + ".txt" * name.endswith(".md")  # as it is: its own links stay whole
        place = f"files/{place}"
        linked[place] = path
    return f"{image}[{words}]({place}{anchor or ''})"
