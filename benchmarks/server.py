"""A server that answers every request with a service's documented sample, as cheaply as it can.

Run by `run.py` in a process of its own. Prints its port. `--core N` pins it to a core, and
`--tls FILE` makes it speak TLS with the certificate and key in FILE. `/counts` returns the number
of connections, requests, bytes received and bytes sent; `/drop` closes all other connections. Exits
when its standard input ends.
"""

import argparse
import os
import socket
import ssl
import sys
import threading

SAMPLES = {
    b"/api/": b'{"status":"success","data":{"action":"read","progress":{"bytesProcessed":28,'
    b'"done":true,"success":true,"finishDate":"2019-03-13T14:09:10.121Z"},"result":{"messageId":'
    b'"mt7ZYbBYpM3zcgAf3H8X","continuationToken":"kjXP2CZaSdkTKCi2jDi2"}}}',
    b"/v2/": b'{"end_time":1597390224911,"error_code":null,"error_msg":null,"progress":50,'
    b'"start_time":1597389901161,"status":"creating"}',
    b"": b'{ "jobProgress": { "percentage": 56, "state": "Active", "step": "Reconstruction" } }',
}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

counts = {"connections": 0, "requests": 0, "received": 0, "sent": 0}
connected: set[socket.socket] = set()


def answer(head: bytes, connection: socket.socket) -> bytes:
    if b" /counts " in head:
        body = " ".join(map(str, counts.values())).encode()
    elif b" /drop " in head:
        for other in connected - {connection}:
            other.shutdown(socket.SHUT_RDWR)
        body = b"dropped"
    else:
        counts["requests"] += 1
        body = next(sample for path, sample in SAMPLES.items() if b" " + path in head)
    return HEAD % len(body) + body


def receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:  # a client may close without reading the last answer
        return b""


def serve(connection: socket.socket, context: ssl.SSLContext | None) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is not None:
        connection = context.wrap_socket(connection, server_side=True)
    counts["connections"] += 1
    connected.add(connection)
    pending = b""
    while received := receive(connection):
        pending += received
        while b"\r\n\r\n" in pending:
            head, pending = pending.split(b"\r\n\r\n", 1)
            reply = answer(head, connection)
            counts["received"] += len(head) + 4
            counts["sent"] += len(reply)
            connection.sendall(reply)
    connected.discard(connection)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=int)
    parser.add_argument("--tls")
    given = parser.parse_args()

    context = None
    if given.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.tls)
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            arguments = (listener.accept()[0], context)
            threading.Thread(target=serve, args=arguments, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
