#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The servers of a host on the tests' Internet; started by internet.py inside the host's namespace.

    HTTP on 80   /blob  10 MB whose SHA-256 blob_digest() tells     /whoami  "ADDRESS PORT" of the client
                 /endless  the blob, round and round, until somebody asks for     /enough
                 POST to anything: the SHA-256 of what was sent
    echo on 7    TCP: what comes goes back
    TFTP on 69   tftp.py; what it hands out is the beginning of the blob
    DNS on 53    any name has two IPv4 addresses: the client's, and its port as 0.0.HIGH.LOW

Writes the line `serving` when all of them listen, `http ADDRESS PORT PATH` for each request, `echo ADDRESS PORT` for each
connection, and when all of an endless answer was sent, `endless BYTES SHA-256`.
"""

import functools
import hashlib
import http.server
import random
import socket
import socketserver
import struct
import threading

BLOB_BYTES = 10_000_000
ECHO_PORT, HTTP_PORT, DNS_PORT = 7, 80, 53
DNS_A_RECORD, DNS_HEADER = 1, struct.Struct("!6H")


@functools.cache
def blob() -> bytes:
    return random.Random(2663).randbytes(BLOB_BYTES)


def blob_digest() -> str:
    return hashlib.sha256(blob()).hexdigest()


class Web(http.server.BaseHTTPRequestHandler):
    enough = threading.Event()

    def do_GET(self):
        address, port = self.client_address
        print(f"http {address} {port} {self.path}", flush=True)
        if self.path == "/endless":
            return self.send_endlessly()
        body = {"/blob": blob, "/whoami": lambda: f"{address} {port}".encode(), "/enough": self.stop_endless}.get(self.path)
        if body is None:
            return self.send_error(404)
        content = body()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_endlessly(self):
        self.send_response(200)  # of unknown length: the end of the connection ends it
        self.end_headers()
        digest, size = hashlib.sha256(), 0
        while not self.enough.is_set():
            part = blob()[size % BLOB_BYTES:][:1 << 16]
            digest.update(part)
            self.wfile.write(part)
            size += len(part)
        print(f"endless {size} {digest.hexdigest()}", flush=True)

    def stop_endless(self):
        self.enough.set()
        return b""

    def do_POST(self):
        digest = hashlib.sha256()
        left = int(self.headers["Content-Length"])
        while left > 0 and (part := self.rfile.read(min(left, 1 << 16))):
            digest.update(part)
            left -= len(part)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(digest.hexdigest().encode() + b"\n")

    def log_message(self, *_):
        pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        print("echo", *self.client_address, flush=True)
        while part := self.request.recv(1 << 16):
            self.request.sendall(part)


class Names(socketserver.BaseRequestHandler):
    """RFC 1035: the question comes back with the client's own endpoint as answer, for A; with none else."""

    def handle(self):
        query, reply = self.request
        address, port = self.client_address
        question_end = query.index(b"\0", DNS_HEADER.size) + 5
        wanted, = struct.unpack_from("!H", query, question_end - 4)
        answers = [socket.inet_aton(address), port.to_bytes(4, "big")] if wanted == DNS_A_RECORD else []
        header = DNS_HEADER.pack(int.from_bytes(query[:2], "big"), 0x8180, 1, len(answers), 0, 0)
        records = b"".join(struct.pack("!3HIH", 0xC00C, DNS_A_RECORD, 1, 0, 4) + answer for answer in answers)
        reply.sendto(header + query[DNS_HEADER.size:question_end] + records, self.client_address)


def main():
    from tftp import TFTP_PORT, Tftp  # beside this program; tests import this file as a part of harness
    web = http.server.ThreadingHTTPServer(("", HTTP_PORT), Web)
    names = socketserver.UDPServer(("", DNS_PORT), Names)
    Tftp.content = blob()
    files = socketserver.UDPServer(("", TFTP_PORT), Tftp)
    files.max_packet_size = 65536
    echo = socketserver.ThreadingTCPServer(("", ECHO_PORT), Echo)
    for server in (names, files, echo):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("serving", flush=True)
    web.serve_forever()


if __name__ == "__main__":
    main()
