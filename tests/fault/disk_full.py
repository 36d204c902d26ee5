"""The disk under the server fills up or breaks after N bytes, for several N: no acknowledged write
is lost, nothing wrong is answered, what is said is clear, and with a good disk all goes on."""
import glob
import os
import signal
import subprocess
import sys
import unittest

from write_model import COLLECTION, Refused, World
import lathe_case
import grpc

import lathe_data as data
from lathe_server import wait_until

SHIM = os.environ.get("LATHE_DISKFULLSHIM", "")
RESERVE = 256 << 20  # inserts stop while less than this is free
STILL = "still"      # a collection that nobody changes
# RocksDB 7.8 as Debian builds it ends the process (an assertion in UpdateCompactionJobStats) when
# the first write of a compaction fails. Nothing is lost by that, but reads do not go on.
ASSERTED = -signal.SIGABRT
BROKEN = (70, ASSERTED)  # how a process ends whose disk is broken


class DiskFullTest(lathe_case.LatheCase):
    def setUp(self):
        self.world = World(lathe_case.SEED, unary=6, streams=0)
        self.disk = self.server("--shards", 2)
        with self.world.connect(self.disk) as api:
            data.create_collection(api, STILL, {"": (384, "METRIC_COSINE")})
            self.vectors = data.sample(500)[1]
            data.write_all(api, STILL, [data.upsert(api, i, vector, {"i": i})
                                        for i, vector in enumerate(self.vectors)])
            self.world.settle(api)
            self.world.write_until(300, lambda: None)
            self.world.settle(api)
        self.off = os.path.join(self.disk.base, "off")
        self.stop_with_little_to_replay()

    def stop_with_little_to_replay(self):
        """A start writes the log anew into tables, so one more start leaves the next one little to
        write: only then do the bytes of a bad disk go to requests."""
        self.assertEqual(self.disk.stop(), 0)
        self.disk.start()
        self.assertEqual(self.disk.stop(), 0)

    def start_on_bad_disk(self, limit, error="ENOSPC", fail_sync=False):
        self.disk.env = {"LD_PRELOAD": SHIM, "LATHE_SHIM_PATH": self.disk.data,
                         "LATHE_SHIM_BYTES": str(limit), "LATHE_SHIM_ERRNO": error,
                         "LATHE_SHIM_FAIL_SYNC": "1" if fail_sync else "0",
                         "LATHE_SHIM_OFF": self.off}
        self.disk.start()
        return self.world.connect(self.disk)

    def assert_still(self, api):
        """Reads of what was there before are as they were."""
        self.assertEqual(api.call("CountPoints", collection=STILL).count, len(self.vectors))
        reply = api.call("Search", collection=STILL, limit=5, like=data.to_id(api, 7),
                         selection=api.schema.Selection(payload=True, vectors=True))
        scores = data.defined_scores("METRIC_COSINE", self.vectors, self.vectors[7])
        scores[7] = -2
        best = [int(i) for i in (-scores).argsort(kind="stable")[:5]]
        self.assertEqual([hit.id.number for hit in reply.hits], best)
        for hit in reply.hits:
            self.assertEqual(data.from_object(hit.payload), {"i": hit.id.number})
            self.assertEqual(data.vector_of(hit.vectors[0]).tobytes(),
                             self.vectors[hit.id.number].tobytes())

    def read_on(self, reads):
        """Calls reads(), which must work while the process lives."""
        try:
            reads()
        except grpc.RpcError:
            try:
                self.assertEqual(self.disk.process.wait(5), ASSERTED)
            except subprocess.TimeoutExpired:
                pass
            else:
                return
            raise

    def ended(self, said):
        """Whether a call failed because the process ended, and not by what the server said."""
        if "shard " in said or "commit: " in said:
            return False
        self.disk.process.wait(10)
        return True

    def end(self, *codes):
        """Ends the process, if it did not end itself, with one of these codes."""
        code = self.disk.stop() if self.disk.alive() else self.disk.wait(5)
        self.assertIn(code, codes, self.disk.log_tail(2000))

    def goes_on_with_a_good_disk(self):
        """A restart on a good disk: everything acknowledged is there, and writes work."""
        self.disk.env = {}
        self.disk.start()
        with self.world.connect(self.disk) as api:
            self.assert_still(api)
            self.world.settle(api)
            self.world.write_until(200, lambda: None)
            self.world.settle(api)
            self.world.verify(api)
        self.stop_with_little_to_replay()

    def test_inserts_stop_above_the_reserve_and_go_on_when_there_is_room(self):
        with self.start_on_bad_disk(RESERVE + (2 << 20)) as api:
            refusals = self.world.write_until(1 << 40, lambda: None, expect_failures=True)
            self.assertEqual(len(refusals), len(self.world.writers))
            self.assertTrue(all("disk" in text and str(RESERVE) in text for text in refusals),
                            refusals)
            self.world.verify(api)
            self.assert_still(api)
            with self.assertRaises(grpc.RpcError) as caught:
                api.call("WritePoints", collection=STILL,
                         operations=[data.upsert(api, 1000, self.vectors[0])])
            self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            self.assertGreater(api.retry_ms(caught.exception), 0)
            data.write_all(api, STILL, [data.delete(api, 499)])  # deletes go on
            data.write_all(api, STILL, [data.delete(api, 498)])
            self.vectors = self.vectors[:498]
            self.assert_still(api)
            open(self.off, "w", encoding="ascii").close()

            def room_again():
                """Shards look at the disk several times a second, each for itself."""
                try:
                    for writer in self.world.writers:
                        writer.repeat_pending()
                except (grpc.RpcError, Refused):
                    return False
                return not self.world.write_until(50, lambda: None, expect_failures=True)

            wait_until(room_again, 10, "inserts after there is room again")
            self.world.write_until(200, lambda: None)
            self.world.settle(api)
            os.unlink(self.off)
        self.assertEqual(self.disk.stop(), 0)
        self.goes_on_with_a_good_disk()

    def reserves_remove(self):
        """As if the disk had been too small for them all the time."""
        for path in glob.glob(os.path.join(self.disk.data, "*", "*.reserve")):
            os.unlink(path)

    def delete_goes_through(self, api):
        """Whether every shard takes deletes, or the process has ended as a broken disk may end
        it."""
        operations = [data.delete(api, 20_000_000 + i) for i in range(50)]
        try:
            return api.call("WritePoints", collection=STILL, operations=operations).status == 0
        except grpc.RpcError:
            return not self.disk.alive()

    def full_disk(self, limit, after):
        """Deletes until the disk is full, `after`(api, what was said, whether reads are as before),
        and a restart on a good disk: what was acknowledged is there."""
        with self.start_on_bad_disk(limit) as api:
            acknowledged, said = self.delete_until_refused(api)

            def reads():
                self.world.verify(api)
                gone = {point.id.number for point in data.list_all(api, STILL)}
                self.assertTrue(gone.isdisjoint(acknowledged))

            if not self.ended(said):
                self.assertIn("read-only", said)
                self.assertIn("space", said.lower())
                after(api, reads)
        if os.path.exists(self.off):
            os.unlink(self.off)
        self.end(0, ASSERTED)
        self.disk.env = {}
        self.disk.start()
        with self.world.connect(self.disk) as api:
            left = {point.id.number for point in data.list_all(api, STILL)}
            self.assertTrue(left.isdisjoint(acknowledged))
            self.world.verify(api)
            data.write_all(api, STILL, [data.upsert(api, i, vector, {"i": i})
                                        for i, vector in enumerate(self.vectors)])
            self.assert_still(api)
        self.stop_with_little_to_replay()

    def opened_anew(self, api, reads):
        wait_until(lambda: self.delete_goes_through(api), 30, "deletes after the store was reopened")
        if self.disk.alive():
            self.assertIn("reopened", self.disk.log_tail())
            self.read_on(reads)

    def test_a_disk_that_is_really_full_makes_shards_read_only_until_there_is_room(self):
        """Deletes need room too; with none left a commit fails, and the shard only reads."""

        def after(api, reads):
            self.read_on(reads)
            open(self.off, "w", encoding="ascii").close()
            self.opened_anew(api, reads)

        for limit in (150_000, 400_000):
            with self.subTest(limit=limit):
                self.reserves_remove()
                self.full_disk(limit, after)
        self.goes_on_with_a_good_disk()

    def test_the_reserve_is_room_enough_to_go_on_by_itself(self):
        for limit in (150_000, 400_000):
            with self.subTest(limit=limit):
                self.full_disk(limit, self.opened_anew)
        self.goes_on_with_a_good_disk()

    def delete_until_refused(self, api):
        """Deletes points that are there and that are not: (those acknowledged, what was said)."""
        acknowledged = set()
        for i in range(100_000):
            number = i % len(self.vectors)
            operations = [data.delete(api, number)]
            operations += [data.delete(api, 10_000_000 + j) for j in range(1000)]
            try:
                reply = api.call("WritePoints", collection=STILL, operations=operations)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE, error.details())
                return acknowledged, error.details()
            if reply.results[0].outcome == 1:
                acknowledged.add(number)
            if reply.status != 0:
                return acknowledged, reply.message
        raise AssertionError("the disk never filled up")

    def ends_by_itself(self, limit, **fault):
        """Writers run until the process ends itself, with the code that says why."""
        with self.start_on_bad_disk(limit, **fault):
            self.world.write_until(1 << 40, lambda: None, expect_failures=True)
        code = self.disk.wait(30)
        self.assertIn(code, BROKEN, self.disk.log_tail(2000))
        if code == 70:
            self.assertIn("commit-failed", self.disk.log_tail())

    def test_a_write_that_fails_ends_the_process_and_a_restart_is_fine(self):
        for limit in (200_000, 1_000_000, 3_000_001, 8_000_000):
            with self.subTest(limit=limit):
                self.ends_by_itself(limit, error="EIO")
                self.goes_on_with_a_good_disk()

    def test_a_sync_that_fails_ends_the_process_and_a_restart_is_fine(self):
        for limit in (200_000, 1_000_000, 3_000_001):
            with self.subTest(limit=limit):
                self.ends_by_itself(limit, error="EIO", fail_sync=True)
                self.goes_on_with_a_good_disk()

    def make_collections(self, api, count, known, unsure):
        """Makes collections and drops every other one. True: all calls succeeded."""
        for i in range(count):
            name = f"made-{len(known)}-{i}"
            unsure.add(name)
            try:
                data.create_collection(api, name, {"": (2, "METRIC_DOT")})
                known.add(name)
                if i % 2:
                    known.discard(name)
                    api.call("DeleteCollection", name=name)
            except grpc.RpcError as failure:
                self.refusal = failure
                return False
            unsure.discard(name)
        return True

    def test_collections_made_and_dropped_on_a_bad_disk(self):
        """The catalog has a store of its own: what it acknowledged stays, whatever failed."""
        for error, before in (("ENOSPC", 0), ("ENOSPC", 5), ("EIO", 0), ("EIO", 5)):
            with self.subTest(error=error, before=before):
                known, unsure = {COLLECTION, STILL}, set()
                open(self.off, "w", encoding="ascii").close()
                with self.start_on_bad_disk(0, error) as api:
                    self.assertTrue(self.make_collections(api, before, known, unsure))
                    os.unlink(self.off)
                    self.assertFalse(self.make_collections(api, 1000, known, unsure))
                    code, said = self.refusal.code().name, self.refusal.details()
                    ended = self.ended(said)
                    if not ended:
                        self.assertIn(code, ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL"))
                        self.assertRegex(said, "No space left|Input/output error")
                    if error == "ENOSPC" and not ended:
                        self.read_on(lambda: self.assert_still(api))
                # A broken disk ends the process when a commit meets it.
                self.end(0, ASSERTED, *([70] if error == "EIO" else []))
                self.disk.env = {}
                self.disk.start()
                with self.world.connect(self.disk) as api:
                    names = {c.name for c in api.call("ListCollections").collections}
                    self.assertEqual(known - unsure, names - unsure)
                    for name in names - {COLLECTION, STILL}:
                        self.assertEqual(api.call("CountPoints", collection=name).count, 0)
                        api.call("DeleteCollection", name=name)
                    self.assert_still(api)
                self.stop_with_little_to_replay()
        self.goes_on_with_a_good_disk()

    def test_a_start_without_any_room_says_so_and_loses_nothing(self):
        for error, limit in (("ENOSPC", 0), ("ENOSPC", 500), ("EIO", 0), ("EIO", 500)):
            with self.subTest(error=error, limit=limit):
                self.disk.env = {"LD_PRELOAD": SHIM, "LATHE_SHIM_PATH": self.disk.data,
                                 "LATHE_SHIM_BYTES": str(limit), "LATHE_SHIM_ERRNO": error}
                code, said = self.disk.start_fails()
                self.assertEqual(code, 1, said)
                self.assertIn("No space left" if error == "ENOSPC" else "Input/output error", said)
                self.goes_on_with_a_good_disk()


if __name__ == "__main__":
    if not SHIM:
        sys.exit("LATHE_DISKFULLSHIM must name the shim")
    lathe_case.main()
