"""Data directories that must not be served are refused, saying what to do, with exit code 1."""
import os
import re
import shutil
import subprocess

import lathe_case

import lathe_data as data
from lathe_server import run_cli


class DirectoryTest(lathe_case.LatheCase):
    def filled(self, shards=2):
        """A stopped server whose directory holds 10 points."""
        server = self.server("--shards", shards)
        with lathe_case.Api(server.address) as api:
            data.create_collection(api, "kept", {"": (2, "METRIC_DOT")})
            data.write_all(api, "kept", [data.upsert(api, i, [i, i]) for i in range(10)])
        self.assertEqual(server.stop(), 0)
        server.options = []
        return server

    def assert_refused(self, server, *texts, options=()):
        before = self.contents(server.data)
        code, said = server.start_fails(*options)
        said = said.splitlines()[-1]
        self.assertEqual(code, 1, said)
        self.assertIn(server.data, said)
        for text in texts:
            self.assertRegex(said, text)
        self.assertEqual(self.contents(server.data), before)

    @staticmethod
    def contents(directory):
        """Names and bytes of what is not inside the stores."""
        found = {}
        for path, directories, files in os.walk(directory):
            directories[:] = [name for name in directories if name not in ("store", "catalog")]
            for name in files:
                with open(os.path.join(path, name), "rb") as file:
                    found[os.path.join(path, name)] = file.read()
        return found

    def assert_kept(self, server):
        with lathe_case.Api(server.start().address) as api:
            self.assertEqual(api.call("CountPoints", collection="kept").count, 10)
        self.assertEqual(server.stop(), 0)

    def test_a_second_process_on_the_same_directory(self):
        server = self.server("--shards", 2)
        second = self.server(start=False, data=server.data)
        self.assert_refused(second, "(?i)another process|in use|locked")
        self.assertEqual(self.api(server).call("GetInfo").shards, 2)
        self.assertEqual(server.stop(), 0)
        second.start()

    def test_another_number_of_shards(self):
        server = self.filled(2)
        self.assert_refused(server, "2", "3", "--shards", options=("--shards", 3))
        self.assert_kept(server)

    def test_a_directory_of_something_else(self):
        server = self.server(start=False)
        os.mkdir(server.data)
        with open(os.path.join(server.data, "letters.txt"), "w", encoding="ascii") as file:
            file.write("dear all")
        self.assert_refused(server, "letters.txt", "(?i)empty or new")

    def test_a_newer_format(self):
        server = self.filled()
        path = os.path.join(server.data, "FORMAT")
        with open(path, encoding="ascii") as file:
            old = file.read()
        with open(path, "w", encoding="ascii") as file:
            file.write(re.sub(r"(format|oldest-reader) \d+", r"\1 999", old))
        self.assert_refused(server, "999", "(?i)newer Lathe")
        with open(path, "w", encoding="ascii") as file:
            file.write(old)
        self.assert_kept(server)

    def test_a_damaged_format_file(self):
        server = self.filled()
        for text in ("", "something", "\0\0\0\0"):
            with self.subTest(text=text):
                with open(os.path.join(server.data, "FORMAT"), "w", encoding="ascii") as file:
                    file.write(text)
                self.assert_refused(server, "FORMAT")

    def test_a_part_that_is_missing(self):
        for part in ("shard-001", "shard-001/store", "shard-001/identity", "catalog", "cluster"):
            with self.subTest(part=part):
                server = self.filled()
                path, aside = os.path.join(server.data, part), os.path.join(server.base, "aside")
                shutil.move(path, aside)
                code, said = server.start_fails()
                self.assertEqual(code, 1, said)
                self.assertIn(part.split("/")[0], said.splitlines()[-1])
                self.assertRegex(said.splitlines()[-1], "(?i)put .*back|restore")
                shutil.rmtree(path, ignore_errors=True)
                shutil.move(aside, path)
                self.assert_kept(server)
                server.close()

    def test_a_shard_of_another_cluster(self):
        one, other = self.filled(), self.filled()
        path = os.path.join(one.data, "shard-000")
        shutil.rmtree(path)
        shutil.copytree(os.path.join(other.data, "shard-000"), path)
        self.assert_refused(one, "shard-000", "(?i)cluster")

    def test_a_directory_that_cannot_be_made(self):
        server = self.server(start=False)
        server.data = os.path.join(server.base, "no", "such", "parent")
        code, said = server.start_fails()
        self.assertEqual(code, 1)
        self.assertIn("No such file or directory", said)

    def test_a_port_that_is_taken_and_addresses_that_are_not_allowed(self):
        server = self.server()
        taken = run_cli("serve", "--data", os.path.join(server.base, "other"),
                        "--listen", server.address)
        self.assertEqual(taken.returncode, 1, taken.stderr)
        self.assertIn(server.address, taken.stderr)
        for address, text in (("0.0.0.0:0", "--insecure"), ("nonsense", "host:port"),
                              ("127.0.0.1:99999", "host:port")):
            with self.subTest(address=address):
                done = run_cli("serve", "--data", os.path.join(server.base, "x"),
                               "--listen", address)
                self.assertEqual(done.returncode, 2)
                self.assertIn(text, done.stderr)
                self.assertFalse(os.path.exists(os.path.join(server.base, "x")))

    def test_a_unix_socket(self):
        server = self.server(start=False)
        path = os.path.join(server.base, "socket")
        process = subprocess.Popen(
            [lathe_case.lathe_server.PROGRAM, "serve", "--data", server.data, "--listen",
             "unix:" + path, "--port-file", server.port_path], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        lathe_case.lathe_server.wait_until(lambda: os.path.exists(server.port_path), 30, "a socket")
        with lathe_case.Api("unix:" + path) as api:
            self.assertGreater(api.call("GetInfo").shards, 0)
        process.terminate()
        self.assertEqual(process.wait(30), 0)


if __name__ == "__main__":
    lathe_case.main()
