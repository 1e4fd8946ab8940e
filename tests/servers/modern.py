"""ClickHouse's HTTP interface over chdb (ClickHouse 26.9 as a Python module), for teal's tests.

    python modern.py --path DIR [--user NAME:PASSWORD]... [--config FILE]

Prints one line of JSON with its port when it is ready, and ends when its standard input ends. Each
request has a connection of its own, so requests run in parallel and share no settings. It has
`query_log` and `part_log`.

What differs from a real server: chdb chooses query ids itself. The id that a client asks for stands
at the head of the statement, as a comment, and `KILL QUERY WHERE query_id = '…'` finds it there.
"""

import argparse
import base64
import gzip
import itertools
import json
import os
import re
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb

# Written out as often as by any server, every 7.5 s: each time makes a part of a hundred columns,
# and merges of those. Who reads them has them flushed first.
LOGS = """<clickhouse>
  <query_log><database>system</database><table>query_log</table></query_log>
  <part_log><database>system</database><table>part_log</table></part_log>
</clickhouse>
"""

# Parameters that are no settings.
OWN_PARAMETERS = {
    "query",
    "query_id",
    "database",
    "default_format",
    "user",
    "password",
    "wait_end_of_query",
    "enable_http_compression",
    "session_id",
}

STATUS_OF_CODE = {
    60: 404,  # UNKNOWN_TABLE
    81: 404,  # UNKNOWN_DATABASE
    62: 400,  # SYNTAX_ERROR
    46: 404,  # UNKNOWN_FUNCTION
    47: 404,  # UNKNOWN_IDENTIFIER
    115: 404,  # UNKNOWN_SETTING
    194: 401,  # REQUIRED_PASSWORD
    497: 403,  # ACCESS_DENIED
    516: 403,  # AUTHENTICATION_FAILED
}

INSERT_WITH_FORMAT = re.compile(
    r"^(?P<insert>\s*(/\*.*?\*/)?\s*INSERT\s+INTO\s.*?)"
    r"\s+FORMAT\s+(?P<format>\w+)[ \t]*;?\n?(?P<data>.*)$",
    re.IGNORECASE | re.DOTALL,
)
# chdb streams nothing else.
STREAMED = re.compile(r"^\s*(SELECT|WITH)\b", re.IGNORECASE)


class Refusal(Exception):
    """An error in ClickHouse's words."""


# What a server of 23.8 answers to what came later, as its source has it; but where the statement
# has what stands in the middle.
LATER = (
    (
        "ATTACH PARTITION ALL FROM",
        None,
        "Code: 344. DB::Exception: Only support DROP/DETACH PARTITION ALL currently. "
        "(SUPPORT_IS_DISABLED)",
    ),
    (
        "EXPLAIN QUERY TREE",
        "allow_experimental_analyzer = 1",
        "Code: 48. DB::Exception: EXPLAIN QUERY TREE is only supported with a new analyzer. "
        "Set allow_experimental_analyzer = 1. (NOT_IMPLEMENTED)",
    ),
    (
        "xxh3_128",
        None,
        "Code: 46. DB::Exception: Function with name `xxh3_128` does not exist. (UNKNOWN_FUNCTION)",
    ),
)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    later: tuple[tuple[str, str | None, str], ...] = ()

    def __init__(self, path: Path, config: Path, users: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        # The same where it is started anew.
        self.name = str(path)
        self.connection_string = f"{path}?config-file={config}"
        self.users = users
        # Keeps the engine up between requests.
        self.keeper = chdb.connect(self.connection_string)
        self.version = self.keeper.query("SELECT version()", "TSVRaw").data().strip()
        # Their tables are made when they are written out for the first time.
        self.keeper.query("SYSTEM FLUSH LOGS")

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away is what some of the tests are about.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/ping":
            self.respond(200, b"Ok.\n", {})
        else:
            self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = Body(self)
        try:
            self.run(parameters, body)
        except (Refusal, RuntimeError, chdb.ChdbError) as error:
            self.refuse(said(error))
        body.drain()

    def run(self, parameters: dict[str, str], body: "Body") -> None:
        self.check_user(parameters)
        statement = parameters.get("query", "")
        if not statement:
            statement = body.read().decode()
        for word, but_with, message in self.server.later:
            if word in statement and not (but_with and but_with in statement):
                raise Refusal(message)
        query_id = parameters.get("query_id") or f"unasked-{next(COUNTER)}"
        connection = chdb.connect(self.server.connection_string)
        try:
            self.prepare(connection, parameters)
            statement = KILL.sub(lambda m: f"startsWith(query, '/* {m[1]} */')", statement)
            marked = f"/* {query_id} */ {statement}"
            headers = {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Timezone": "UTC"}
            default_format = parameters.get("default_format", "TabSeparated")
            if insert := INSERT_WITH_FORMAT.match(marked):
                self.insert(connection, insert, body, headers)
            elif STREAMED.match(statement) and parameters.get("wait_end_of_query") != "1":
                self.stream(connection, marked, default_format, headers)
            else:
                result = connection.query(marked, default_format)
                headers["X-ClickHouse-Summary"] = summary(result)
                data = bytes(result.bytes())
                if parameters.get("enable_http_compression") == "1" and data:
                    data = gzip.compress(data, 1)
                    headers["Content-Encoding"] = "gzip"
                self.respond(200, data, headers)
        finally:
            connection.close()

    def check_user(self, parameters: dict[str, str]) -> None:
        name = self.headers.get("X-ClickHouse-User") or parameters.get("user")
        password = self.headers.get("X-ClickHouse-Key") or parameters.get("password") or ""
        authorization = self.headers.get("Authorization", "")
        if authorization.startswith("Basic "):
            name, _, password = base64.b64decode(authorization[6:]).decode().partition(":")
        elif authorization.startswith("Bearer "):
            name, password = "jwt", authorization[7:]
        name = name or "default"
        if self.server.users.get(name) != password:
            raise Refusal(
                f"Code: 516. DB::Exception: {name}: Authentication failed: password is incorrect, "
                "or there is no user with such name. (AUTHENTICATION_FAILED)"
            )

    def prepare(self, connection: Any, parameters: dict[str, str]) -> None:
        settings = {n: v for n, v in parameters.items() if n not in OWN_PARAMETERS}
        database = parameters.get("database") or self.headers.get("X-ClickHouse-Database")
        if database and database != "default":
            connection.query(f"USE `{database}`")
        if settings:
            quoted = (
                "{} = '{}'".format(name, value.replace("\\", "\\\\").replace("'", "\\'"))
                for name, value in settings.items()
            )
            connection.query("SET " + ", ".join(quoted))

    def insert(
        self, connection: Any, insert: re.Match[str], body: "Body", headers: dict[str, str]
    ) -> None:
        # Data goes in by the stream: binary data inline breaks.
        stream = connection.send_insert(insert["insert"], insert["format"])
        try:
            if insert["data"]:
                stream.append(insert["data"].encode())
            for piece in body.pieces():
                stream.append(piece)
            result = stream.finish()
        except BaseException:
            stream.cancel()
            raise
        written = {"written_rows": str(result.rows_written)}
        headers["X-ClickHouse-Summary"] = json.dumps(written)
        self.respond(200, b"", headers)

    def stream(self, connection: Any, statement: str, format: str, headers: dict[str, str]) -> None:
        result = connection.send_query(statement, format)
        tag = f"tag{next(COUNTER)}"
        chunk = result.fetch()
        headers |= {"Transfer-Encoding": "chunked", "X-ClickHouse-Exception-Tag": tag}
        self.head(200, headers)
        try:
            while chunk is not None:
                self.write_chunk(bytes(chunk.bytes()))
                chunk = result.fetch()
        except (RuntimeError, chdb.ChdbError) as error:
            message = f"{said(error)}\r\n"
            end = (
                f"\r\n__exception__\r\n{tag}\r\n{message}{len(message)} {tag}\r\n__exception__\r\n"
            )
            self.write_chunk(end.encode())
            # As ClickHouse does: the body has no end.
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def write_chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

    def refuse(self, message: str) -> None:
        found = re.search(r"Code: (\d+)", message)
        code = int(found[1]) if found else 0
        headers = {"X-ClickHouse-Exception-Code": str(code)}
        self.respond(STATUS_OF_CODE.get(code, 500), message.encode() + b"\n", headers)

    def respond(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.head(status, headers | {"Content-Length": str(len(data))})
        self.wfile.write(data)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("X-ClickHouse-Server-Display-Name", self.server.name)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class Body:
    """A request's body: with a length or in chunks, plain or in gzip streams one after another."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.left = self.raw()
        self.ended = False

    def raw(self) -> Iterator[bytes]:
        stream = self.handler.rfile
        if "chunked" in self.handler.headers.get("Transfer-Encoding", ""):
            while True:
                line = stream.readline()
                if not line.strip():
                    raise ConnectionError("the body broke off")
                size = int(line.split(b";")[0], 16)
                data = stream.read(size)
                if len(data) < size:
                    raise ConnectionError("the body broke off")
                stream.readline()
                if size == 0:
                    return
                yield data
        size = int(self.handler.headers.get("Content-Length", 0))
        while size > 0:
            data = stream.read(min(size, 1 << 16))
            if not data:
                raise ConnectionError("the body broke off")
            size -= len(data)
            yield data

    def pieces(self) -> Iterator[bytes]:
        encoding = self.handler.headers.get("Content-Encoding")
        if encoding not in (None, "gzip"):
            raise Refusal(
                f"Code: 35. DB::Exception: {encoding} is unknown. (UNKNOWN_COMPRESSION_METHOD)"
            )
        if encoding is None:
            yield from self.left
            return
        decoder = zlib.decompressobj(wbits=31)
        for data in self.left:
            while data:
                yield decoder.decompress(data)
                data = decoder.unused_data
                if decoder.eof:
                    decoder = zlib.decompressobj(wbits=31)

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def drain(self) -> None:
        for _ in self.left:
            pass


COUNTER = itertools.count(1)
KILL = re.compile(r"query_id = '([^']+)'(?=.*\b(?:SYNC|ASYNC)\s*$)", re.DOTALL)


def said(error: Exception) -> str:
    """The error as ClickHouse says it; chdb puts words of its own before it."""
    text = str(error)
    return text[max(text.find("Code: "), 0) :]


def summary(result: Any) -> str:
    return json.dumps(
        {
            "read_rows": str(result.storage_rows_read()),
            "read_bytes": str(result.storage_bytes_read()),
            "written_rows": "0",
            "elapsed_ns": str(int(result.elapsed() * 1e9)),
        }
    )


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--path", type=Path, required=True)
    arguments.add_argument("--config", type=Path)
    arguments.add_argument("--user", action="append", default=["default:"])
    arguments.add_argument("--as-old", action="store_true")
    options = arguments.parse_args()
    options.path.mkdir(parents=True, exist_ok=True)
    config = options.config
    if config is None:
        config = options.path / "config.xml"
        config.write_text(LOGS)
    users = dict(user.partition(":")[::2] for user in options.user)
    server = Server(options.path / "data", config, users)
    server.later = LATER if options.as_old else ()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ready = {"port": server.server_address[1], "pid": os.getpid(), "version": server.version}
    print(json.dumps(ready), flush=True)
    # Whoever started it holds the other end, and it ends with them.
    sys.stdin.read()
    server.shutdown()
    # The engine's own threads would keep an ordinary exit waiting.
    os._exit(0)


if __name__ == "__main__":
    main()
