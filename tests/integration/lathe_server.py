"""Starts and ends real `lathe serve` processes for tests, and runs other `lathe` commands.

LATHE_PROGRAM is the program. Nothing is left behind: servers die with the test, and their
directories are removed, also when the test fails. Start servers from the main thread.
"""
import atexit
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

PROGRAM = os.environ.get("LATHE_PROGRAM", "")
SANITIZER = os.environ.get("LATHE_SANITIZE", "")
# How much longer things may take when every memory access is checked.
PATIENCE = 5 if SANITIZER else 1

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(condition, seconds, what):
    """Waits for a condition, not for a time; fails by saying what did not come."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * PATIENCE} s: {what}")
        time.sleep(0.005)


def temporary_directory():
    path = tempfile.mkdtemp(prefix="lathe-test-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def run_cli(*arguments, server=None, env=None, timeout=120, text=True, **options):
    """Runs `lathe ARGUMENTS`; a CompletedProcess with stdout and stderr."""
    environment = dict(os.environ if env is None else env)
    if server is not None:
        environment["LATHE_SERVER"] = server.address
    return subprocess.run([PROGRAM, *map(str, arguments)], env=environment, text=text,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=options.pop("stdin", subprocess.DEVNULL),
                          timeout=timeout * PATIENCE, check=False, **options)


class Server:
    """One data directory and the process that serves it, which may be started many times."""

    def __init__(self, data=None, options=(), env=None):
        self.base = temporary_directory()
        self.data = data or os.path.join(self.base, "data")
        self.options = list(options)
        self.env = dict(env or {})
        self.log_path = os.path.join(self.base, "log")
        self.port_path = os.path.join(self.base, "port")
        self.process = None
        self.port = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def spawn(self, *more):
        """Starts the process without waiting for anything."""
        assert self.process is None
        if os.path.exists(self.port_path):
            os.unlink(self.port_path)
        command = [PROGRAM, "serve", "--data", self.data, "--listen", "127.0.0.1:0",
                   "--port-file", self.port_path, *map(str, self.options), *map(str, more)]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env={**os.environ, **self.env},
                                            preexec_fn=_die_with_parent)
        return self

    def start(self, *more):
        """Starts the process and waits until it answers."""
        self.spawn(*more)

        def ready():
            if os.path.exists(self.port_path):
                return True
            if self.process.poll() is not None:
                code = self.process.returncode
                self.process = None
                raise AssertionError(f"the server ended with {code}:\n{self.log_tail()}")
            return False

        wait_until(ready, 30, "a server that answers")
        with open(self.port_path, encoding="ascii") as file:
            self.port = int(file.read())
        return self

    def start_fails(self, *more):
        """Starts the process where it must not run: (exit code, what it said)."""
        self.spawn(*more)
        return self.wait(30), self.log_tail()

    def wait(self, seconds):
        """Waits for the end of the process: its exit code."""
        code = self.process.wait(seconds * PATIENCE)
        self.process = None
        return code

    def stop(self, seconds=15):
        """SIGTERM: the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self):
        self.process.kill()
        return self.wait(15)

    def close(self):
        """Ends the process if it runs, and removes everything. A sanitizer has its say at the end of
        a process, so then it ends in good order."""
        code = 0
        if self.process is not None:
            if SANITIZER and self.alive():
                code = self.stop(60)
            else:
                self.kill()
        said = self.log_tail() if code != 0 else ""
        shutil.rmtree(self.base, ignore_errors=True)
        if code != 0:
            raise AssertionError(f"the server ended with {code}:\n{said}")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def log_tail(self, size=6000):
        return self.log()[-size:]

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def require_program():
    if not PROGRAM:
        sys.exit("LATHE_PROGRAM must name the lathe program")
