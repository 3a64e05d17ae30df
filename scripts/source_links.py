"""A hook of MkDocs: links from a page to a file of the source, which is no page, such as ``[k8s](../k8s)``.

They work as they are where the pages are read beside the source. On the site they lead to `source_url` of mkdocs.yml,
and only name the file where that is not given. Either way the file has to be there.
"""

import logging
import re
from pathlib import Path
from typing import Any, Final

_LINK: Final = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>\.\./[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
_LOG: Final = logging.getLogger("mkdocs.hooks.source_links")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_others: Any) -> str:
    """Return a page's *markdown* with those links as the site can hold them."""
    docs = Path(config["docs_dir"]).resolve()
    here = (docs / page.file.src_uri).parent
    source_url = (config["extra"].get("source_url") or "").rstrip("/")

    def linked(link: re.Match[str]) -> str:
        target = (here / link["target"]).resolve()
        if target.is_relative_to(docs):
            return link[0]
        if not target.exists():
            _LOG.warning("%s links to %s, which is not there", page.file.src_uri, link["target"])
        if not source_url:
            return link["text"]
        return f"[{link['text']}]({source_url}/{target.relative_to(docs.parent).as_posix()}{link['anchor'] or ''})"

    return _LINK.sub(linked, markdown)
