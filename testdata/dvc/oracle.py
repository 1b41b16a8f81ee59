"""Real dvc as one long-lived process, for tests that ask it thousands of times.

Each line on stdin is a JSON object {"dir", "args", "env"}: a command line of
dvc, where to run it, and its whole environment. It is answered by a line
{"code", "out", "err"}. A command runs dvc.cli.main in a fork of this process,
which has imported dvc already, so that no command sees what another one kept
in memory. "eval" instead of "args" names a Python expression over x, whose
values for each x of "items" are answered as {"values"}.
"""

import json
import os
import sys
import tempfile

import dvc.cli
import dvc.commands.data_sync, dvc.commands.add, dvc.commands.status, dvc.commands.data  # noqa: E401, F401
import dvc.commands.checkout, dvc.commands.imp, dvc.commands.imp_url, dvc.commands.get, dvc.commands.config  # noqa: E401, F401
import dvc.commands.remote, dvc.commands.check_ignore, dvc.commands.gc, dvc.commands.commit, dvc.commands.repro  # noqa: E401, F401
import dvc.repo
import dvc.repo.add, dvc.repo.push, dvc.repo.pull, dvc.repo.status, dvc.repo.checkout, dvc.repo.data, dvc.repo.worktree  # noqa: E401, F401
import dvc.repo.index, dvc.repo.imp, dvc.repo.imp_url, dvc.repo.reproduce, dvc.stage.cache, dvc.dependency  # noqa: E401, F401
import dvc.fs.dvc, dvc.fs.data, dvc.parsing, dvc.utils.strictyaml, dvc.lock, dvc.rwlock  # noqa: E401, F401
import dvc_data.index.checkout, dvc_data.index.fetch, dvc_data.index.push, dvc_data.hashfile.build  # noqa: E401, F401
import networkx, pygtrie, ruamel.yaml, tqdm, configobj  # noqa: E401, F401


def command(request, out, err):
    """Runs in the fork; does not return."""
    code = 255
    try:
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["dir"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        code = dvc.cli.main(request["args"])
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 2
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


def run(request):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            command(request, out.fileno(), err.fileno())
        _, status = os.waitpid(pid, 0)
        answer = {"code": os.waitstatus_to_exitcode(status)}
        for name, file in (("out", out), ("err", err)):
            file.seek(0)
            answer[name] = file.read().decode("utf-8", "replace")
        return answer


def evaluate(request):
    scope = {}
    exec(request.get("setup", ""), scope)
    return {"values": [eval(request["eval"], scope, {"x": x}) for x in request["items"]]}


answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    request = json.loads(line)
    answer = evaluate(request) if "eval" in request else run(request)
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
