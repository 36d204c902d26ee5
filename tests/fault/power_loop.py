"""power_loop.py N: as kill_loop.py, but after each kill everything that was not synced is taken
back, as a power cut would, or torn: pages of the write-ahead log that were not synced stay, or
become zeros or garbage. It runs the server under libsyncshim and then lathe_crash.

power_loop.py --self-check: syncs stop counting after a while; the loop must see the loss."""
import os
import subprocess
import sys
import time

from write_model import World
import grpc
import lathe_case
import lathe_server

SHIM, CRASH = os.environ.get("LATHE_SYNCSHIM", ""), os.environ.get("LATHE_CRASH", "")


class PowerServer(lathe_server.Server):
    """A server whose data directory forgets what was not synced when the power goes."""

    def __init__(self):
        super().__init__(options=["--shards", 2])
        watched, self.side = (os.path.join(self.base, name) for name in ("watched", "side"))
        os.mkdir(watched)
        os.mkdir(self.side)
        self.watched, self.data = watched, os.path.join(watched, "data")
        self.lie = os.path.join(self.base, "lie")
        self.env = {"LD_PRELOAD": SHIM, "LATHE_SHIM_PATH": watched, "LATHE_SHIM_SIDE": self.side,
                    "LATHE_SHIM_LIE": self.lie}

    def cut_power(self, seed):
        """What lathe_crash says; `seed` decides what becomes of unsynced pages."""
        self.kill()
        done = subprocess.run([CRASH, self.watched, self.side, str(seed)], stdout=subprocess.PIPE,
                              text=True, check=True)
        return f"{done.stdout.strip()} (seed {seed})"


def run(count, lie_after=None):
    world, server = World(lathe_case.SEED), PowerServer()
    begin, done = time.monotonic(), 0
    try:
        server.start()
        while True:
            api = world.connect(server)
            world.settle(api)
            if done >= count:
                break
            if done == lie_after:
                open(server.lie, "w", encoding="ascii").close()
            taken_back = []
            seed = world.random.getrandbits(63) | 1
            world.write_until(world.random.randint(1, 300),
                              lambda: taken_back.append(server.cut_power(seed)))
            api.close()
            done += 1
            if world.random.random() < 0.2:
                server.spawn()
                time.sleep(world.random.random() * 0.5)  # how far the start comes is what is varied
                server.cut_power(world.random.getrandbits(63) | 1)
            server.start()
            print(f"cut {done}: {taken_back[0]}", flush=True)
        api.close()
    except BaseException:
        if lie_after is None:
            print(f"after {done} cuts; what the server said last:\n{server.log_tail(2000)}",
                  file=sys.stderr, flush=True)
        raise
    finally:
        server.close()
    print(f"{done} power cuts: nothing lost. {world.summary()}, "
          f"{time.monotonic() - begin:.0f} s")


def self_check():
    try:
        run(10, lie_after=2)
    except (AssertionError, grpc.RpcError) as error:  # lost rows, or a server that does not start
        print(f"without syncs the loop fails, as it must: {type(error).__name__}: "
              f"{str(error)[:300]}")
        return
    sys.exit("syncs counted for nothing, and the loop saw no loss")


if __name__ == "__main__":
    lathe_server.require_program()
    print(f"seed {lathe_case.SEED} (LATHE_TEST_SEED={lathe_case.SEED} repeats this run)", flush=True)
    if not SHIM or not CRASH:
        sys.exit("LATHE_SYNCSHIM and LATHE_CRASH must name the shim and lathe_crash")
    if sys.argv[1:] == ["--self-check"]:
        self_check()
    else:
        run(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
