"""kill_loop.py N: kills the server N times with SIGKILL while many clients write, and checks after
each restart that every acknowledged write is there and nothing that was never sent."""
import sys
import time

from write_model import World
import lathe_case
import lathe_server


def restart(server, world, kills_left):
    """Starts the server again; sometimes it is killed while it starts. The number of kills."""
    kills = 0
    while kills < kills_left and world.random.random() < 0.15:
        server.spawn()
        time.sleep(world.random.random() * 0.3)  # how far the start comes is what is varied
        server.kill()
        kills += 1
    server.start()
    return kills


def main(count):
    lathe_server.require_program()
    print(f"seed {lathe_case.SEED} (LATHE_TEST_SEED={lathe_case.SEED} repeats this run)", flush=True)
    world = World(lathe_case.SEED)
    server = lathe_server.Server(options=["--shards", 2])
    begin = time.monotonic()
    kills = 0
    try:
        server.start()
        while True:
            api = world.connect(server)
            world.settle(api)
            if kills >= count:
                break
            world.write_until(world.random.randint(1, 400), server.kill)
            api.close()
            kills += 1
            kills += restart(server, world, count - kills)
            if kills % 10 == 0:
                print(f"{kills} kills, {world.summary()}, {time.monotonic() - begin:.0f} s",
                      flush=True)
        world.verify(api)
        api.close()
        if server.stop() != 0:
            raise AssertionError("the server did not end with 0")
    except BaseException:
        print(f"after {kills} kills; what the server said last:\n{server.log_tail(3000)}",
              file=sys.stderr)
        raise
    finally:
        server.close()
    print(f"{kills} kills: nothing lost. {world.summary()}, {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
