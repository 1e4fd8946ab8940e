"""Debian's ClickHouse 18.16, a real server of another age, on free ports of 127.0.0.1.

    python old.py --server DIR --path DIR

`--server` is where its packages were unpacked (tools/setup/test-servers). Prints one line of JSON
with its HTTP port when it is ready, and ends when its standard input ends.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

CONFIG = """<yandex>
  <logger><level>error</level><console>1</console></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http}</http_port>
  <tcp_port>{tcp}</tcp_port>
  <interserver_http_port>{interserver}</interserver_http_port>
  <path>{path}/data/</path>
  <tmp_path>{path}/tmp/</tmp_path>
  <mark_cache_size>1000000</mark_cache_size>
  <users_config>{path}/users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
</yandex>
"""

USERS = """<yandex>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users><default>
    <password></password>
    <networks><ip>127.0.0.1</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
  </default></users>
</yandex>
"""


def free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago; held all at once, so that they differ."""
    sockets = [socket.socket() for _ in range(number)]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def wait_until_it_answers(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"the old server ended with {server.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).read()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    server.kill()
    sys.exit("the old server does not answer")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--server", type=Path, required=True)
    arguments.add_argument("--path", type=Path, required=True)
    options = arguments.parse_args()
    http, tcp, interserver = free_ports(3)
    path = options.path.resolve()
    path.mkdir(parents=True, exist_ok=True)
    config = path / "config.xml"
    config.write_text(CONFIG.format(http=http, tcp=tcp, interserver=interserver, path=path))
    (path / "users.xml").write_text(USERS)
    libraries = {str(file.parent) for file in options.server.rglob("*.so*")}
    server = subprocess.Popen(
        [options.server / "usr/sbin/clickhouse-server", f"--config-file={config}"],
        env=os.environ | {"LD_LIBRARY_PATH": ":".join(sorted(libraries))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=path,
    )
    try:
        wait_until_it_answers(http, server)
        print(json.dumps({"port": http, "pid": server.pid}), flush=True)
        sys.stdin.read()
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
