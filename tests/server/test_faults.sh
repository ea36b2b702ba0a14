#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The server with what goes wrong around it: signals and kills under load, model files that break, no room on the disk, hostile clients.
#
# Elsewhere: malformed JSON and tensors, wrong types, large bodies, a full queue and deadlines in test_serve_api.sh; other hosts without a
# token in test_serve.sh; requests that were half sent when the end came, slow clients and few connections in test_http.c; sinks that are
# full or killed, alone, in test_history.c and test_sinks.c; trainings that are interrupted in test_studio_jobs.c.
set -euo pipefail
. "$(dirname "$0")/../cli/lib.sh"
. "$(dirname "$0")/../cli/make_small.sh"
python=/usr/bin/python3
"$python" -c 'import sqlite3' 2>/dev/null || skip "needs python3 with sqlite3"
if "$cozad" serve -m none 2>&1 | grep -q "built without"; then skip "built without serve"; fi
unset OMP_WAIT_POLICY

make_scenes
expect 0 train_small "$tmp/good.cozad"
expect 0 train_small "$tmp/other.cozad" --seed 2
cat >"$tmp/faults.py" <<'PYTHON'
import atexit, json, os, re, resource, shutil, signal, socket, sqlite3, struct, subprocess, sys, threading, time, urllib.request, zlib

COZAD, TMP = sys.argv[1], sys.argv[2]
PHOTO = open(f"{TMP}/scenes/cloth/test/good/000.png", "rb").read()


def check(what, good, more=""):
    if not good:
        sys.exit(f"FAILED: {what} {more}")


class Server:
    def __init__(self, *options, log="log"):
        self.log = f"{TMP}/{log}"
        with open(self.log, "wb") as f:
            self.process = subprocess.Popen([COZAD, "serve", "--port", "0", "--backbone", "random:resnet18:1", "--threads", "2", *options],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=f)
        atexit.register(self.process.kill)  # does nothing to one that has ended
        line = self.process.stdout.readline().decode()
        found = re.fullmatch(r"cozad: serving on http://127\.0\.0\.1:(\d+)/\n", line)
        check("it starts", found, line + open(self.log).read())
        self.port = int(found[1])

    def sanitized(self):
        """Whether it is a build that keeps freed memory for a while, and is slow."""
        return "libasan" in open(f"/proc/{self.process.pid}/maps").read()

    def status(self, key):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(rf"{key}:\s+(\d+)", f.read())[1])

    def get(self, path, data=None):
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data), timeout=60) as answer:
            return answer.read().decode()

    def json(self, path, data=None):
        return json.loads(self.get(path, data))

    def metric(self, name):
        return float(re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics"), re.M)[1])

    def end(self):
        check("it still runs", self.process.poll() is None, f"code {self.process.returncode}\n" + open(self.log).read()[-2000:])
        self.process.send_signal(signal.SIGTERM)
        check("it ends with 0", self.process.wait(60) == 0, f"code {self.process.returncode}\n" + open(self.log).read()[-2000:])


class Client:
    """A connection that stays open."""

    def __init__(self, server):
        self.port, self.socket = server.port, None

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.file = self.socket.makefile("rb")

    def send(self, body=PHOTO, path="/score", kind="image/png"):
        if self.socket is None:
            self.connect()
        self.socket.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    def hear(self):
        """Status and body; None: no answer."""
        head, length, last = [], 0, False
        while True:
            line = self.file.readline().decode()
            if line in ("", "\r\n"):
                break
            head.append(line)
            name, _, value = line.lower().partition(":")
            length = int(value) if name == "content-length" else length
            last = last or (name == "connection" and "close" in value)
        if not head:
            self.close()
            return None
        body = self.file.read(length)
        if last:
            self.close()
        return int(head[0].split()[1]), body

    def ask(self, *args, **more):
        self.send(*args, **more)
        return self.hear()

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None


class Load:
    """Clients that ask all the time; what they got, by path."""

    def __init__(self, server, paths, clients=6):
        self.server, self.stop, self.lock = server, False, threading.Lock()
        self.answers = {path: [] for path in paths}  # (begun, sent or None, answered, status or None)
        self.threads = [threading.Thread(target=self.run, args=(paths[i % len(paths)],), daemon=True) for i in range(clients)]
        for t in self.threads:
            t.start()

    def run(self, path):
        client = Client(self.server)
        while not self.stop:
            begun, sent, status = time.monotonic(), None, None
            try:
                client.send(path=path)
                sent = time.monotonic()
                answer = client.hear()
                status = answer and answer[0]
            except OSError:
                client.close()
            with self.lock:
                self.answers[path].append((begun, sent, time.monotonic(), status))
            if status != 200:
                time.sleep(0.02)
        client.close()

    def count(self, path):
        with self.lock:
            return len(self.answers[path])

    def further(self, path, n):
        """Until n more answers were had."""
        wanted, until = self.count(path) + n, time.monotonic() + 60
        while self.count(path) < wanted and time.monotonic() < until:
            time.sleep(0.01)
        check(f"{path} goes on being answered", self.count(path) >= wanted, f"{self.count(path)} of {wanted}")

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join()

    def all_good(self, path):
        bad = [a for a in self.answers[path] if a[3] != 200]
        check(f"{path}: every request is answered 200", not bad, f"{len(bad)} of {len(self.answers[path])}: {bad[:3]}")


def until(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    sys.exit(f"FAILED: {what}")


def terminated():
    server = Server("-m", f"{TMP}/good.cozad")
    load = Load(server, ["/score"], 8)
    load.further("/score", 40)
    when = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(60)
    time.sleep(0.1)
    load.end()
    rows = load.answers["/score"]
    accepted = [a for a in rows if a[1] is not None and a[1] < when]
    lost = [a for a in accepted if a[3] != 200]
    waiting = sum(a[2] >= when for a in accepted)
    check("SIGTERM: exit code 0", code == 0, str(code))
    check("SIGTERM: all that was sent before is answered", not lost, f"{len(lost)} of {len(accepted)}: {lost[:3]}")
    check("SIGTERM: some were under way", waiting > 0)
    late = [a for a in rows if a[0] > when and a[3] not in (200, 503, None)]
    check("SIGTERM: later ones are answered or refused", not late, str(late[:3]))
    check("SIGTERM: the last ones are refused", rows[-1][3] is None)
    print(f"  SIGTERM: {len(accepted)} sent before, {waiting} of them under way, none lost")


def killed():
    path = f"{TMP}/killed.db"
    server = Server("-m", f"{TMP}/good.cozad", "--history", path)
    load = Load(server, ["/score"])
    load.further("/score", 60)
    until("killed: the history is written", lambda: server.json("/api/history?most=1")["total"] > 10)
    total = server.json("/api/history?most=1")["total"]
    server.process.kill()
    server.process.wait()
    load.end()
    with sqlite3.connect(path) as db:
        check("killed: integrity", db.execute("pragma integrity_check").fetchall() == [("ok",)])
        check("killed: what was seen is there", db.execute("select count(*) from results").fetchone()[0] >= total)
    db.close()
    server = Server("-m", f"{TMP}/good.cozad", "--history", path)
    before = server.json("/api/history?most=1")["total"]
    check("killed: it is there after a restart", before >= total)
    check("killed: it scores after a restart", Client(server).ask()[0] == 200)
    until("killed: the history goes on", lambda: server.json("/api/history?most=1")["total"] == before + 1)
    server.end()
    print(f"  kill -9: {before} rows, {total} of them seen before")


def models():
    folder = f"{TMP}/models"
    os.mkdir(folder)
    shutil.copy(f"{TMP}/good.cozad", f"{folder}/part.cozad")
    shutil.copy(f"{TMP}/good.cozad", f"{TMP}/given.cozad")
    part, given = "/score?model=part", "/score?model=given"
    server = Server("-m", f"{TMP}/given.cozad", "--model-dir", folder)
    load = Load(server, [part, given], 4)

    def entry(name):
        return next(e for e in server.json("/v2/repository/index", b"") if e["name"] == name)

    def put(data, name="part"):
        with open(f"{folder}/new", "wb") as f:
            f.write(data)
        os.rename(f"{folder}/new", f"{folder}/{name}.cozad")

    version, good = entry("part")["version"], open(f"{TMP}/good.cozad", "rb").read()
    for what, data in (("garbage", os.urandom(5000)), ("its first half", good[:len(good) // 2]), ("nothing", b"")):
        put(good)  # as it was
        until(f"{what}: the reason is gone", lambda: entry("part")["reason"] == "")
        put(data)
        until(f"{what}: there is a reason", lambda: entry("part")["reason"] != "")
        check(f"{what}: the old one stays", entry("part")["version"] == version and entry("part")["state"] == "READY")
        load.further(part, 10)
    put(open(f"{TMP}/other.cozad", "rb").read())
    until("a good one is taken", lambda: entry("part")["version"] not in ("", version) and entry("part")["reason"] == "")
    load.further(part, 10)
    os.truncate(f"{folder}/part.cozad", 100)  # the very file that is in use
    os.truncate(f"{TMP}/given.cozad", 0)
    until("cut: there is a reason", lambda: entry("part")["reason"] != "" and entry("given")["reason"] != "")
    load.further(part, 20)
    load.further(given, 20)
    load.all_good(part)
    os.remove(f"{TMP}/given.cozad")
    os.remove(f"{folder}/part.cozad")
    until("removed: it is unloaded", lambda: entry("part")["state"] == "UNAVAILABLE")
    load.further(part, 10)
    put(good)
    until("back: it is loaded", lambda: entry("part")["version"] == version)
    load.further(part, 10)
    load.end()
    load.all_good(given)
    statuses = [a[3] for a in load.answers[part]]
    check("removed: 404 then, 200 before and afterwards", set(statuses) == {200, 404} and statuses[-1] == 200, str(set(statuses)))
    server.end()
    print(f"  model files: {len(statuses) + load.count(given)} requests, {statuses.count(404)} of a removed model refused")


def full_disk():
    path, lines = f"{TMP}/full.db", f"{TMP}/full.jsonl"
    server = Server("-m", f"{TMP}/good.cozad", "--history", path, "--results", lines, log="full.log")
    client = Client(server)
    check("full: the first", client.ask()[0] == 200)
    until("full: the first is kept", lambda: server.json("/api/history")["total"] == 1)
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4000, limits[1]))  # no file may grow beyond, the log neither
    for i in range(100):
        answer = client.ask(path=f"/score?name={'x' * 200}{i}")
        check("full: answered", answer is not None and answer[0] == 200, str(answer))
    until("full: losses are counted", lambda: server.metric('cozad_sink_lost_total{sink="history"}') > 0
          and server.metric('cozad_sink_lost_total{sink="jsonl"}') > 0)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
    check("full: answered afterwards", client.ask(path="/score?name=afterwards")[0] == 200)
    until("full: the history goes on", lambda: server.json("/api/history?text=afterwards")["rows"])
    lost = server.metric('cozad_sink_lost_total{sink="history"}')
    server.end()
    with sqlite3.connect(path) as db:
        check("full: integrity", db.execute("pragma integrity_check").fetchall() == [("ok",)])
    for line in open(lines):
        json.loads(line)
    print(f"  no room: {lost:.0f} of 102 results not in the history, all answered")


def png(width, height, data, *chunks):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + b"".join(chunk(*c) for c in chunks)
            + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def zeros(size):
    """zlib's form of so many zeros, about a thousandth of their size."""
    deflate, out = zlib.compressobj(9), []
    for _ in range(size >> 20):
        out.append(deflate.compress(bytes(1 << 20)))
    return b"".join(out) + deflate.flush()


def hostile():
    server = Server("-m", f"{TMP}/good.cozad", "--idle-timeout", "60", "--timeout", "60")
    client, idle = Client(server), []
    for _ in range(4):
        check("hostile: before", client.ask()[0] == 200)
    # Pictures that are small as files and large in memory.
    big, peak, begun = zeros(256 << 20), server.status("VmHWM"), time.monotonic()
    bombs = {"pixels": png(60000, 60000, big), "sides": png(0x7FFFFFFF, 0x7FFFFFFF, big), "one row": png(0x7FFFFFFF, 1, big),
             "more data than pixels": png(16, 16, big),
             "text": png(16, 16, zlib.compress(bytes(17 * 16)), (b"zTXt", b"Comment\0\0" + big)),
             "profile": png(16, 16, zlib.compress(bytes(17 * 16)), (b"iCCP", b"icc\0\0" + big))}
    wanted = {"pixels": (413,), "sides": (400, 413), "one row": (400, 413)}
    for name, bomb in bombs.items():
        status = client.ask(bomb)[0]
        check(f"bomb, {name}", status in wanted.get(name, (200, 400, 413)), str(status))
    grown = server.status("VmHWM") - peak
    check("bombs: memory", grown < 48 << 10 or server.sanitized(), f"{grown} KiB more")
    check("bombs: time", time.monotonic() - begun < (60 if server.sanitized() else 10), f"{time.monotonic() - begun:.1f} s")
    # Clients that go away: before their body is whole, before the answer, while it is sent.
    for i in range(60):
        gone = Client(server)
        gone.connect()
        gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if i % 3 == 0:
            gone.socket.sendall(b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 9000\r\n\r\nhalf")
        else:
            gone.send(path="/score" if i % 3 == 1 else "/score?include=overlay")
        gone.file.close()
        gone.close()
    until("gone: nothing is left of them", lambda: server.metric("cozad_connections") <= 3 and server.metric("cozad_queue_waiting") == 0)
    # Many that say nothing, or half of something.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for i in range(1000):
        s = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        if i % 2 == 1:
            s.sendall(b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\nhalf a body")
        idle.append(s)
    begun = time.monotonic()
    for _ in range(30):
        check("idle: answered beside", client.ask()[0] == 200)
    taken = time.monotonic() - begun
    check("idle: they are there", server.metric("cozad_connections") >= 1000)
    check("idle: without much waiting", taken < 15, f"{taken:.1f} s")
    for s in idle:
        s.close()
    until("idle: gone", lambda: server.metric("cozad_connections") <= 3)
    check("idle: answered afterwards", client.ask()[0] == 200)
    server.end()
    print(f"  hostile: {len(bombs)} bombs, {grown} KiB more; 30 answers beside 1000 silent connections in {taken:.1f} s")


def unread():
    """Answers of 16 MB that nobody reads."""
    server = Server("-m", f"{TMP}/good.cozad", "--idle-timeout", "2", "--timeout", "20")
    head = (b'{"inputs":[{"name":"image","shape":[1,2000,2000,1],"datatype":"UINT8"}],'
            b'"outputs":[{"name":"map"}],"parameters":{"binary_data_output":true}}')
    for _ in range(4):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", server.port))
        s.sendall(b"POST /v2/models/good/infer HTTP/1.1\r\nHost: localhost\r\nInference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
                  % (len(head), len(head) + 4000000) + head + bytes(4000000))
        check("unread: it begins to be answered", s.recv(12) == b"HTTP/1.1 200")
        UNREAD.append(s)
    check("unread: others are answered", Client(server).ask()[0] == 200)
    begun = time.monotonic()
    until("unread: they are given up", lambda: server.metric("cozad_connections") <= 1)
    taken, begun = time.monotonic() - begun, time.monotonic()
    server.end()
    print(f"  unread answers: given up after {taken:.1f} s, the end took {time.monotonic() - begun:.1f} s")


UNREAD = []
for part in (terminated, killed, models, full_disk, hostile, unread):
    part()
PYTHON
"$python" "$tmp/faults.py" "$cozad" "$tmp" || fail "see above"
echo PASS
