"""Calls through http.client. Arguments: address, method, path, bytes, count, pause in ms between calls
on one connection (-1: each call on its own). Prints how often each status or error came."""
import collections, http.client, random, socket, ssl, sys, time

address, method, path, size, count, pause = sys.argv[1:7]
body, seen = b"x" * int(size), collections.Counter()


def connect():
    if address.startswith("unix:"):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(address.removeprefix("unix:"))
        return connection
    scheme, _, host = address.partition("://")
    if scheme == "https":
        return http.client.HTTPSConnection(host, context=ssl._create_unverified_context())
    return http.client.HTTPConnection(host)


for _ in range(int(count)):
    try:
        connection = connect()
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        seen[str(response.status)] += 1
    except Exception as error:
        seen[repr(error)] += 1
print(*(f"{what}: {times}" for what, times in seen.items()), sep=", ")
