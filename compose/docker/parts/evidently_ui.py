"""Evidently's UI service behind a guard: python evidently_ui.py HOST PORT WORKSPACE.

Upstream's secret guards what changes something and leaves reading open to all
who reach the port. Here every route but /api/version asks for it, in the header
that upstream's own clients send. A browser has a cookie instead:

    POST /mlops/once      with the secret; answers {"path": "/mlops/open?once=…"}
    GET  /mlops/open?…    within a minute and once; sets the cookie

The cookie is not the secret: it opens what upstream shows without one, until
this process ends or half a day has passed. Both runtimes start this file.
"""

import hashlib
import hmac
import json
import os
import secrets
import sys
import time
from urllib.parse import parse_qs

MAX_BODY = 64 << 20  # upstream takes 10 MB, which is a snapshot of about 160 columns
ONCE, SESSION = 60, 12 * 3600  # seconds
HINT = "Evidently asks for the stack's secret: send it in the header evidently-secret, or, for a browser, run: mlopsctl status --open evidently"


class Guard:
    """An ASGI application that lets through to app who shows the secret."""

    def __init__(self, app, secret, clock=time.monotonic):
        self.app, self.secret, self.clock = app, secret.encode(), clock
        self.cookie = "mlops_evidently_" + hashlib.sha256(self.secret).hexdigest()[:8]  # browsers share cookies between ports
        self.once, self.sessions = {}, {}  # until when each is good

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        headers = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), value)
        path, method = scope["path"], scope["method"]
        if path == "/api/version" and method in ("GET", "HEAD"):
            return await self.app(scope, receive, send)
        if path == "/mlops/open" and method == "GET":
            return await self.open(scope, send)
        known = hmac.compare_digest(headers.get(b"evidently-secret", b""), self.secret)
        if path == "/mlops/once" and method == "POST" and known:
            return await self.offer(send)
        if known or self.good(self.sessions, self.shown(headers.get(b"cookie", b""))):
            return await self.app(scope, receive, send)
        await self.refuse(send)

    async def offer(self, send):
        path = "/mlops/open?once=" + self.make(self.once, ONCE)
        await answer(send, 201, json.dumps({"path": path}))

    async def open(self, scope, send):
        token = parse_qs(scope["query_string"].decode("latin-1")).get("once", [""])[0]
        if not self.good(self.once, token) or self.once.pop(token, None) is None:
            return await self.refuse(send)
        cookie = f"{self.cookie}={self.make(self.sessions, SESSION)}; Path=/; Max-Age={SESSION}; HttpOnly; SameSite=Lax"
        await answer(send, 303, "{}", (b"location", b"/"), (b"set-cookie", cookie.encode()), (b"referrer-policy", b"no-referrer"))

    async def refuse(self, send):
        await answer(send, 401, json.dumps({"status_code": 401, "detail": HINT}))

    def shown(self, header):
        for part in header.decode("latin-1").split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.cookie:
                return value
        return ""

    def make(self, store, seconds):
        now = self.clock()
        for token in [t for t, until in store.items() if until <= now]:
            del store[token]
        token = secrets.token_urlsafe(32)
        store[token] = now + seconds
        return token

    def good(self, store, token):
        return store.get(token, 0) > self.clock()


async def answer(send, status, body, *headers):
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


def main():
    host, port, workspace = sys.argv[1:]
    secret = os.environ.get("EVIDENTLY_SECRET", "").strip()
    if not secret:
        sys.exit("EVIDENTLY_SECRET is not set")
    import uvicorn
    from evidently.ui.service.app import create_app, get_config

    app = create_app(get_config(workspace=workspace, secret=secret, request_max_body_size=MAX_BODY))
    uvicorn.run(Guard(app, secret), host=host, port=int(port))


if __name__ == "__main__":
    main()
