"""The part of the Hub's HTTP interface that a push and a download use, on loopback, with commits kept in memory.

Written from what `huggingface_hub` sends. Files of some endings are kept as LFS objects, as the Hub does.
"""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

import yaml

LFS = (".safetensors", ".png", ".bin")
TOKEN = "hf_writer"
READER = "hf_reader"


class Hub:
    """What lies in the Hub.

    Attributes:
        commits: by repository and commit, contents by path.
        branches: by repository, commits by branch.
        private: names of repositories that only a token sees.
        sent: what a download gets in place of a file, by path: contents, or a function of the right ones.
        asked: methods and paths of all requests.
    """

    def __init__(self):
        self.commits, self.branches, self.private, self.objects = {}, {}, set(), {}
        self.sent, self.asked = {}, []
        self.endpoint = ""

    def put(self, name, files, branch="main"):
        """A commit with these files beside those that are there."""
        branches = self.branches.setdefault(name, {})
        before = self.commits.get((name, branches.get(branch)), {})
        return self._commit(name, branch, before | files)

    def files(self, name, revision="main"):
        """Contents by path; None: there is no such repository or revision."""
        sha = self.branches.get(name, {}).get(revision, revision)
        return self.commits.get((name, sha))

    def _commit(self, name, branch, files):
        told = json.dumps({path: sha256(content) for path, content in files.items()} | {"n": len(self.commits)})
        sha = hashlib.sha1(told.encode()).hexdigest()
        self.commits[name, sha] = files
        self.branches[name][branch] = sha
        return sha


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_sum(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_any(self):
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.asked.append((self.command, path))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        for method, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method.split():
                answer(self, *found.groups())
                return
        self.refuse(404, f"No route {path}")

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def answer(self, content, code=200, **headers):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, code, message, error=""):
        self.answer({"error": message}, code, X_Error_Message=message, **({"X_Error_Code": error} if error else {}))

    def may_write(self):
        if self.token not in (TOKEN, READER):
            self.refuse(401, "Invalid credentials in Authorization header")
        elif self.token == READER:
            self.refuse(403, "Forbidden: you must use a write token")
        else:
            return True
        return False

    def seen(self, name, revision):
        """The commit and its files; None: refused."""
        if name not in self.hub.branches or (name in self.hub.private and self.token not in (TOKEN, READER)):
            self.refuse(404 if self.token else 401, "Repository not found", "RepoNotFound")
            return None
        sha = self.hub.branches[name].get(revision, revision)
        files = self.hub.files(name, revision)
        if files is None:
            self.refuse(404, "Invalid rev id", "RevisionNotFound")
            return None
        return sha, files

    def create(self):
        if not self.may_write():
            return
        told = json.loads(self.body)
        name = f"{told['organization']}/{told['name']}"
        if name in self.hub.branches:
            self.refuse(409, "You already created this model repo")
            return
        self.hub.branches[name] = {}
        self.hub._commit(name, "main", {".gitattributes": b""})
        if told.get("visibility") == "private" or told.get("private"):
            self.hub.private.add(name)
        self.answer({"url": f"{self.hub.endpoint}/{name}"})

    def validate(self):
        front = json.loads(self.body)["content"].split("---\n")[1]
        assert yaml.safe_load(front)["library_name"] == "unmask"
        self.answer({"errors": [], "warnings": []})

    def preupload(self, name, revision):
        if self.may_write():
            told = json.loads(self.body)["files"]
            modes = {file["path"]: "lfs" if file["path"].endswith(LFS) else "regular" for file in told}
            self.answer({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})

    def batch(self, name):
        objects = []
        for one in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.endpoint}/lfs/{one['oid']}"}}
            objects.append({**one, "actions": upload} if one["oid"] not in self.hub.objects else one)
        self.answer({"transfer": "basic", "objects": objects})

    def store(self, oid):
        assert sha256(self.body) == oid
        self.hub.objects[oid] = self.body
        self.answer({})

    def commit(self, name, branch):
        if not self.may_write():
            return
        if branch not in self.hub.branches[name]:
            self.refuse(404, "Invalid rev id", "RevisionNotFound")
            return
        files = {}
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        sha = self.hub.put(name, files, branch)
        self.answer({"commitUrl": f"{self.hub.endpoint}/{name}/commit/{sha}", "commitOid": sha})

    def branch(self, name, branch):
        if branch in self.hub.branches[name]:
            self.refuse(409, "Reference already exists")
            return
        self.hub.branches[name][branch] = self.hub.branches[name]["main"]
        self.answer({})

    def info(self, name, revision=None):
        if found := self.seen(name, revision or "main"):
            sha, files = found
            siblings = [{"rfilename": path, **entry(content, path)} for path, content in files.items()]
            renamed = [{"blobId" if k == "oid" else k: v for k, v in one.items()} for one in siblings]
            self.answer(
                {
                    "id": name,
                    "modelId": name,
                    "sha": sha,
                    "tags": [],
                    "downloads": 0,
                    "private": name in self.hub.private,
                    "siblings": renamed,
                }
            )

    def tree(self, name, revision):
        if found := self.seen(name, revision):
            told = [{"type": "file", "path": path, **entry(content, path)} for path, content in found[1].items()]
            self.answer(told)

    def resolve(self, name, revision, path):
        if found := self.seen(name, revision):
            sha, files = found
            if path not in files:
                self.refuse(404, "Entry not found", "EntryNotFound")
                return
            content = files[path]
            tag = sha256(content) if path.endswith(LFS) else git_sum(content)
            headers = {"ETag": f'"{tag}"', "X_Repo_Commit": sha, "X_Linked_Size": len(content)}
            other = self.hub.sent.get(path, content)
            self.answer(other(content) if callable(other) else other, **headers)


def entry(content, path):
    told = {"size": len(content), "oid": git_sum(content)}
    if path.endswith(LFS):
        sums = {"oid": sha256(content), "sha256": sha256(content), "size": len(content), "pointerSize": 130}
        told["lfs"] = sums
    return told


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    ("POST", "api/repos/create", Answers.create),
    ("POST", "api/validate-yaml", Answers.validate),
    ("POST", rf"api/models/{NAME}/preupload/(.+)", Answers.preupload),
    ("POST", rf"api/models/{NAME}/commit/(.+)", Answers.commit),
    ("POST", rf"api/models/{NAME}/branch/(.+)", Answers.branch),
    ("POST", rf"{NAME}\.git/info/lfs/objects/batch", Answers.batch),
    ("PUT", r"lfs/(\w+)", Answers.store),
    ("GET", rf"api/models/{NAME}", Answers.info),
    ("GET", rf"api/models/{NAME}/revision/(.+)", Answers.info),
    ("GET", rf"api/models/{NAME}/tree/([^/]+)", Answers.tree),
    ("GET HEAD", rf"{NAME}/resolve/([^/]+)/(.+)", Answers.resolve),
)


@contextmanager
def serving():
    """A Hub that answers at its ``endpoint``."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Answers,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
