"""Fill the validator's HTTP cache with the two JSON-LD contexts beside this file, so that it needs no network.

Run by roc-validator's own Python: ``python rocrate.py CACHE``, where CACHE.sqlite is what it makes.
"""

import sys
from pathlib import Path

from requests.adapters import BaseAdapter
from requests.models import Response
from requests_cache import CachedSession
from urllib3 import HTTPResponse

HERE = Path(__file__).parent
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": "ro-crate-1.1.jsonld",
    "https://w3id.org/ro/terms/workflow-run/context": "workflow-run.jsonld",
}


class Local(BaseAdapter):
    """Answers with a file for each context, and with 404 for all else."""

    def send(self, request, **_):
        name = CONTEXTS.get(request.url)
        body = (HERE / name).read_bytes() if name else b""
        headers = {"Content-Type": "application/ld+json", "Content-Length": str(len(body))}
        raw = HTTPResponse(body=body, status=200 if name else 404, headers=headers, preload_content=False)
        raw._request_url = request.url
        response = Response()
        response.status_code, response.url, response.request = raw.status, request.url, request
        response.headers.update(headers)
        response.raw, response._content = raw, body
        return response

    def close(self):
        pass


session = CachedSession(
    cache_name=sys.argv[1],
    backend="sqlite",
    expire_after=-1,
    allowable_methods=("GET",),
    allowable_codes=(200, 302, 404),
)
session.mount("https://", Local())
for url in CONTEXTS:
    session.get(url, headers={"Accept": "application/ld+json, application/json;p=0.9, */*;q=0.1"})
    session.get(url)
