"""Starts Serve on the head as soon as the dashboard takes it: with its proxy on
the container's own address, which the first deployment would otherwise choose."""

import json
import sys
import time
import urllib.error
import urllib.request

with open("/run/secrets/ray") as f:
    token = f.read().strip()
body = {
    "proxy_location": "HeadOnly",
    "http_options": {"host": "0.0.0.0", "port": 8000, "request_timeout_s": 120},
    "applications": [],
}
last = None
for _ in range(300):
    request = urllib.request.Request(
        "http://127.0.0.1:8265/api/serve/applications/",
        data=json.dumps(body).encode(),
        method="PUT",
        headers={"Authorization": "Bearer " + token, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60):
            sys.exit(0)
    except (OSError, urllib.error.HTTPError) as e:
        last = e
    time.sleep(1)
sys.exit(f"Serve does not start: {last}")
