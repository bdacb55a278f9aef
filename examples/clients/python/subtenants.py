"""Lists subtenants through the gateway. Needs `requests`."""

import os
import sys

import requests

BASE = os.environ.get("PIGELLO_URL", "http://127.0.0.1:8080")

# One session for all calls: it keeps its connections open.
session = requests.Session()
# A proxy of the environment is not for this machine.
session.trust_env = False

answer = session.get(
    f"{BASE}/accounts/users/customer/subtenant/list/",
    params={"_page": 1, "_page_size": 10},
    timeout=35,  # longer than the gateway's own limit, so that it is the one that tells why
)
if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
    problem = answer.json()
    sys.exit(f"{problem['title']}: {problem['detail']} (request {problem['request_id']})")
answer.raise_for_status()
print(f"{len(answer.json())} subtenants (request {answer.headers['X-Request-Id']})")
