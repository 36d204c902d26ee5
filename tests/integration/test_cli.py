"""The `lathe` command from end to end: collections, import with resume, search, get, delete,
count, info, help, and exit codes."""
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time

import lathe_case
import numpy

import lathe_data as data
from lathe_server import PATIENCE, PROGRAM, run_cli, wait_until


class CliTest(lathe_case.LatheCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = lathe_case.lathe_server.Server(options=["--shards", "2"])
        cls.addClassCleanup(cls.shared.close)
        cls.api = lathe_case.Api(cls.shared.start().address)
        cls.addClassCleanup(cls.api.close)

    def setUp(self):
        self.directory = lathe_case.lathe_server.temporary_directory()
        self.name = self.id().rsplit(".", 1)[1][:60]

    def path(self, name):
        return os.path.join(self.directory, name)

    def lathe(self, *arguments, code=0, **more):
        """Runs `lathe ARGUMENTS`, which must end with `code`: the result."""
        done = run_cli(*arguments, server=self.shared, **more)
        self.assertEqual(done.returncode, code, f"{arguments}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *arguments, **more):
        return [json.loads(line)
                for line in self.lathe(*arguments, "--json", **more).stdout.splitlines()]

    def create(self, dims, metric="dot"):
        self.lathe("collection", "create", self.name, "--dims", dims, "--metric", metric)

    def count(self):
        return self.json("count", "--collection", self.name)[0]["count"]

    def write_lines(self, name, rows):
        with open(self.path(name), "w", encoding="utf-8") as file:
            for row in rows:
                file.write(row if isinstance(row, str) else json.dumps(row))
                file.write("\n")
        return self.path(name)

    # ---- Collections ------------------------------------------------------------------------------

    def test_collections_are_created_listed_described_and_dropped(self):
        self.lathe("collection", "create", self.name, "--dims", 3, "--metric", "euclidean",
                   "--field", "title:5:cosine", "--metadata", "some text")
        found, = self.json("collection", "describe", self.name)
        self.assertEqual(found["name"], self.name)
        self.assertEqual([(f["name"], f["dims"], f["metric"]) for f in found["fields"]],
                         [("", 3, "euclidean"), ("title", 5, "cosine")])
        self.assertEqual((found["metadata"], found["points"], found["shards"]), ("some text", 0, 2))
        self.assertIn(self.name, [c["name"] for c in self.json("collection", "list")])
        self.assertIn(self.name, self.lathe("collection", "list").stdout)
        self.assertIn("euclidean", self.lathe("collection", "describe", self.name).stdout)
        again = self.lathe("collection", "create", self.name, "--dims", 3, code=1)
        self.assertIn("ALREADY_EXISTS", again.stderr)
        self.assertIn(self.name, self.lathe("collection", "drop", self.name).stdout)
        gone = self.lathe("collection", "drop", self.name, code=1)
        self.assertIn("NOT_FOUND", gone.stderr)
        self.assertIn("NOT_FOUND", self.lathe("collection", "describe", self.name, code=1).stderr)

    # ---- Import -----------------------------------------------------------------------------------

    def test_the_sample_is_imported_and_its_questions_find_what_they_expect(self):
        copy = self.path("wordnet.jsonl")
        os.symlink(os.path.abspath(data.sample_path()), copy)
        done = self.lathe("import", copy, "--collection", self.name, "--create",
                          "--metric", "cosine")
        self.assertIn("4,000", done.stdout)
        self.assertEqual(self.count(), 4000)
        self.assertEqual(os.listdir(self.directory), ["wordnet.jsonl"])  # no state is left
        with open(data.sample_path("questions.jsonl"), encoding="utf-8") as file:
            expect = [json.loads(line)["expect"] for line in file]
        answers = self.json("search", data.sample_path("questions.jsonl"), "--collection",
                            self.name, "-k", 3, "--with-payload")
        for word, answer in zip(expect, answers, strict=True):
            self.assertIn(word, [hit["payload"]["word"] for hit in answer["hits"]])
            self.assertEqual(answer["report"]["guarantee"], "certified")
        ids, vectors, payloads = data.sample(50)
        table = self.lathe("search", "--like", ids[7], "--collection", self.name, "-k", 4,
                           "--with-payload").stdout
        self.assertEqual(len([line for line in table.splitlines() if line[:1].isdigit()]), 4)
        self.assertNotIn(str(ids[7]), table)
        point, = self.json("get", ids[3], "--collection", self.name, "--with-vectors")
        self.assertEqual(point["payload"], payloads[3])
        self.assertEqual(numpy.array(point["vectors"][""], numpy.float32).tobytes(),
                         vectors[3].tobytes())

    def test_fvecs_and_npy_are_imported_with_numbers_as_ids(self):
        rng = numpy.random.default_rng(lathe_case.SEED)
        rows = rng.normal(0, 1, (1000, 24)).astype(numpy.float32)
        with open(self.path("rows.fvecs"), "wb") as file:
            for row in rows:
                file.write(struct.pack("<i", 24) + row.tobytes())
        numpy.save(self.path("rows.npy"), rows)
        numpy.save(self.path("queries.npy"), rows[:3])
        self.create(24)
        self.lathe("import", self.path("rows.fvecs"), "--collection", self.name)
        self.lathe("import", self.path("rows.npy"), "--collection", self.name,
                   "--first-id", 100000)
        self.assertEqual(self.count(), 2000)
        for key in (0, 999, 100000, 100999):
            point, = self.json("get", key, "--collection", self.name, "--with-vectors")
            self.assertEqual(numpy.array(point["vectors"][""], numpy.float32).tobytes(),
                             rows[key % 100000].tobytes())
        answers = self.json("search", self.path("queries.npy"), "--collection", self.name, "-k", 2)
        for i, answer in enumerate(answers):
            scores = data.defined_scores("METRIC_DOT", rows, rows[i])
            best = int(numpy.argmax(scores))
            self.assertEqual([hit["id"] for hit in answer["hits"]], [best, best + 100000])
            self.assertEqual(numpy.float32(answer["hits"][0]["score"]), scores[best])
        one, = self.json("search", self.path("queries.npy"), "--row", 2, "--collection", self.name)
        self.assertEqual(one["row"], 2)

    def test_many_questions_are_answered_in_order_as_if_asked_one_by_one(self):
        rng = numpy.random.default_rng(lathe_case.SEED)
        rows = rng.normal(0, 1, (3000, 16)).astype(numpy.float32)
        numpy.save(self.path("rows.npy"), rows)
        numpy.save(self.path("queries.npy"), rows[::10])
        self.create(16)
        self.lathe("import", self.path("rows.npy"), "--collection", self.name)
        common = ("search", self.path("queries.npy"), "--collection", self.name, "-k", 5,
                  "--timeout", "10min")
        answers = self.json(*common)
        self.assertEqual([answer["row"] for answer in answers], list(range(300)))
        self.assertGreater(max(answer["report"]["batch_searches"] for answer in answers), 8)
        for row in (0, 1, 2, 63, 64, 150, 299):
            alone, = self.json(*common, "--row", row)
            self.assertEqual(answers[row]["hits"], alone["hits"])

    def test_answers_too_large_for_one_reply_come_in_several(self):
        self.create(2)
        for i in range(1, 6):
            data.write_all(self.api, self.name,
                           [data.upsert(self.api, i, [i, 1], {"text": "x" * 1000000})])
        path = self.write_lines("q.jsonl", [{"vector": [1, i], "text": f"question {i}"}
                                            for i in range(40)])
        done = self.lathe("search", path, "--collection", self.name, "-k", 5, "--with-payload",
                          "--timeout", "10min")  # so that slow answers are no reason
        self.assertEqual([line for line in done.stdout.splitlines() if line[0:1] == ">"],
                         [f"> question {i}" for i in range(40)])
        together = [int(n) for n in re.findall(r"(\d+) searches in", done.stdout)]
        self.assertIn(max(together), range(5, 13))  # 16 would have 80 MB

    def test_a_refused_question_is_named_and_those_before_it_are_answered(self):
        self.create(2)
        data.write_all(self.api, self.name, [data.upsert(self.api, 1, [1, 2])])
        path = self.write_lines("q.jsonl", [{"vector": [i, 1]} for i in range(20)] +
                                [{"vector": [1, 2, 3]}, {"vector": [1, 1]}])
        done = self.lathe("search", path, "--collection", self.name, "--json", code=1)
        self.assertEqual(len(done.stdout.splitlines()), 20)
        self.assertIn("q.jsonl: line 21: vector", done.stderr)
        self.assertIn("INVALID_ARGUMENT", done.stderr)

    def test_ids_payloads_and_fields_of_json_lines(self):
        self.lathe("collection", "create", self.name, "--field", "a:2:dot", "--field", "b:1:dot")
        uuid = "0b0e7a4e-8f3c-4c9b-9a57-0123456789ab"
        payload = {"int": 9007199254740993, "double": 1.0, "null": None, "list": [], "object": {},
                   "text": "\u00e9\U0001f40d"}
        path = self.write_lines("rows.jsonl", [
            {"id": 18446744073709551615, "vectors": {"a": [1, 2]}, "payload": payload},
            {"id": uuid.upper(), "vectors": {"b": [3]}},
            {"id": "7", "vectors": {"a": [1, 1], "b": [1]}, "payload": {}},
            {"id": 7},
            {"vectors": {"a": [5, 5]}, "payload": {"no": "id"}},
        ])
        self.lathe("import", path, "--collection", self.name)
        self.assertEqual(self.count(), 5)
        points = {point["id"]: point for point in self.json(
            "get", "18446744073709551615", uuid, "str:7", "7", "--collection", self.name,
            "--with-vectors")}
        self.assertEqual(list(points), [18446744073709551615, uuid, "7", 7])
        self.assertEqual(points[18446744073709551615]["payload"], payload)
        self.assertIsInstance(points[18446744073709551615]["payload"]["double"], float)
        self.assertEqual(points["7"]["vectors"], {"a": [1, 1], "b": [1]})
        self.assertEqual(points[7]["vectors"], {})
        ids = [data.from_id(p.id) for p in data.list_all(self.api, self.name)]
        self.assertEqual(len(ids), 5)

    def test_a_bad_line_is_named_and_everything_before_it_is_there(self):
        good = lambda i: {"id": i, "vectors": [i, 1], "payload": {"i": i}}
        bad = {
            "syntax": '{"id": 3000, "vectors": [1, 2]', "dims": {"id": 3000, "vectors": [1, 2, 3]},
            "key": {"id": 3000, "vector": [1, 2]}, "twice": '{"id": 3000, "id": 3001}',
            "id": {"id": -5, "vectors": [1, 2]}, "number": '{"id": 3000, "vectors": [1e39, 2]}',
            "list": "[1, 2]", "utf8": None,
        }
        for kind, line in bad.items():
            with self.subTest(kind=kind):
                self.name = "bad-line-" + kind
                self.create(2)
                path = self.write_lines(kind + ".jsonl", [good(i) for i in range(2500)])
                with open(path, "ab") as file:
                    if line is None:
                        file.write(b'{"id": "\xff", "vectors": [1, 2]}\n')
                    else:
                        file.write((line if isinstance(line, str) else json.dumps(line)).encode() +
                                   b"\n")
                    file.write(json.dumps(good(9999)).encode() + b"\n")
                done = self.lathe("import", path, "--collection", self.name, code=1)
                self.assertIn("line 2501", done.stderr)
                self.assertEqual(self.count(), 2500)
                points = data.list_all(self.api, self.name)
                self.assertEqual([data.from_id(p.id) for p in points], list(range(2500)))
                # Put right, it goes on behind them.
                with open(path, encoding="utf-8", errors="replace") as file:
                    lines = file.read().splitlines()
                lines[2500] = json.dumps(good(3000))
                self.write_lines(kind + ".jsonl", lines)
                again = self.lathe("import", path, "--collection", self.name)
                self.assertIn("imported 2 rows", again.stdout)
                self.assertEqual(self.count(), 2502)

    def start_import(self, path, server=None):
        environment = {**os.environ, "LATHE_SERVER": (server or self.shared).address}
        return subprocess.Popen([PROGRAM, "import", path, "--collection", self.name],
                                env=environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def assert_rows(self, count, dims, api=None):
        points = data.list_all(api or self.api, self.name, 10000)
        self.assertEqual([p.id.number for p in points], list(range(count)))
        for point in points[::97]:
            i = point.id.number
            self.assertEqual(data.vector_of(point.vectors[0]).tolist(), [float(i % 1000)] * dims)
            self.assertEqual(data.from_object(point.payload), {"i": i})

    def big_file(self, count, dims):
        return self.write_lines("big.jsonl", [
            {"id": i, "vectors": [i % 1000] * dims, "payload": {"i": i}} for i in range(count)])

    def test_an_import_that_is_killed_goes_on_where_it_was(self):
        rng = random.Random(lathe_case.SEED)
        count, dims = 20000, 64
        path = self.big_file(count, dims)
        self.create(dims)
        kills = 0
        for number in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM,
                       signal.SIGKILL):
            process = self.start_import(path)
            before = self.count()
            wait_until(lambda: process.poll() is not None or
                       self.api.call("CountPoints", collection=self.name).count > before +
                       rng.randint(1, 2000), 60, "an import that moves on")
            process.send_signal(number)
            _, said = process.communicate(timeout=60 * PATIENCE)
            if process.returncode == 0:
                break
            kills += 1
            if number != signal.SIGKILL:
                self.assertEqual(process.returncode, 1, said)
                self.assertIn("goes on", said)
        self.assertGreater(kills, 1)
        done = self.lathe("import", path, "--collection", self.name)
        self.assertIn("going on behind the first", done.stderr)
        self.assert_rows(count, dims)
        self.assertEqual(os.listdir(self.directory), ["big.jsonl"])

    def test_a_file_that_is_cut_off_during_its_import_is_an_error_that_names_the_row(self):
        count, dims = 200000, 64
        rows = numpy.repeat(numpy.arange(count, dtype=numpy.float32)[:, None] % 1000, dims, 1) + 1
        path = self.path("rows.npy")
        numpy.save(path, rows)
        whole = os.path.getsize(path)
        kept = count * 9 // 10
        self.create(dims)
        process = self.start_import(path)
        self.addCleanup(process.kill)
        wait_until(lambda: process.poll() is not None or self.count() > 0, 60, "the first rows")
        os.truncate(path, whole - (count - kept) * dims * 4)
        _, said = process.communicate(timeout=60 * PATIENCE)
        self.assertEqual(process.returncode, 1, said)
        self.assertIn(f"rows.npy: row {kept}: the file was cut off", said)
        self.assertIn(f"{kept} rows are imported", said)
        self.assertEqual(self.count(), kept)
        numpy.save(path, rows)
        done = self.lathe("import", path, "--collection", self.name)
        self.assertIn(f"going on behind the first {kept} rows", done.stderr)
        self.assertIn("imported 20,000 rows", done.stdout)
        self.assertEqual(self.count(), count)

    def test_an_import_goes_on_while_the_server_is_killed_and_started_again(self):
        server = self.server("--shards", 2)
        count, dims = 20000, 64
        path = self.big_file(count, dims)
        with lathe_case.Api(server.address) as api:
            data.create_collection(api, self.name, {"": (dims, "METRIC_DOT")})
        # The import keeps its server's address, so that must stay the same.
        server.options += ["--listen", server.address]
        process = self.start_import(path, server)
        self.addCleanup(process.kill)
        for _ in range(3):
            begin = time.monotonic()
            wait_until(lambda: process.poll() is not None or time.monotonic() > begin + 0.2, 10,
                       "some of the import")
            server.kill()
            server.start()
        out, said = process.communicate(timeout=60 * PATIENCE)
        self.assertEqual(process.returncode, 0, said)
        self.assertIn("20,000", out)
        self.assert_rows(count, dims, self.api_of(server))

    def api_of(self, server):
        return self.api if server is self.shared else lathe_case.LatheCase.api(self, server)

    def test_imports_that_cannot_begin(self):
        self.create(2)
        missing = self.lathe("import", self.path("none.jsonl"), "--collection", self.name, code=1)
        self.assertIn("none.jsonl", missing.stderr)
        path = self.write_lines("rows.jsonl", [{"id": 1, "vectors": [1, 2]}])
        nowhere = self.lathe("import", path, "--collection", "nowhere", code=1)
        self.assertIn("--create", nowhere.stderr)
        self.assertIn("--metric", self.lathe("import", path, "--collection", "nowhere", "--create",
                                             code=2).stderr)
        with open(self.path("bad.npy"), "wb") as file:
            file.write(b"\x93NUMPY\x01\x00garbage")
        self.lathe("import", self.path("bad.npy"), "--collection", self.name, code=1)
        with open(self.path("bad.fvecs"), "wb") as file:
            file.write(struct.pack("<i", 2) + b"\0\0\0\0")
        self.lathe("import", self.path("bad.fvecs"), "--collection", self.name, code=1)
        numpy.save(self.path("double.npy"), numpy.zeros((2, 2)))
        done = self.lathe("import", self.path("double.npy"), "--collection", self.name, code=1)
        self.assertIn("float32", done.stderr)
        self.assertEqual(self.count(), 0)

    # ---- Points -----------------------------------------------------------------------------------

    def test_points_are_shown_and_deleted_and_missing_ones_are_said(self):
        self.create(2)
        data.write_all(self.api, self.name, [
            data.upsert(self.api, key, [1, 2], {"key": str(key)}) for key in (1, 2, "text")])
        done = self.lathe("get", 1, "text", "str:9", "--collection", self.name, code=1)
        self.assertIn("text", done.stdout)
        self.assertIn("no point", done.stderr)
        self.assertEqual(self.json("delete", 1, 5, "--collection", self.name),
                         [{"deleted": 1, "not_found": 1}])
        self.assertEqual(self.count(), 2)
        self.assertEqual(self.lathe("count", "--collection", self.name).stdout, "2\n")

    def test_info_shows_the_server(self):
        info, = self.json("info")
        self.assertEqual(info["shards"], 2)
        self.assertIn("limits", info)
        text = self.lathe("info").stdout
        self.assertIn(self.shared.address, text)
        self.assertIn("memory", text)

    # ---- Help and exit codes ----------------------------------------------------------------------

    COMMANDS = ("serve", "collection create", "collection list", "collection describe",
                "collection drop", "import", "search", "get", "delete", "count", "info", "help")

    def test_every_command_explains_itself(self):
        overview = self.lathe("--help").stdout
        self.assertEqual(overview, self.lathe("help").stdout)
        for command in self.COMMANDS:
            with self.subTest(command=command):
                self.assertIn(command, overview)
                text = self.lathe(*command.split(), "--help").stdout
                self.assertTrue(text.startswith(f"Usage: lathe {command}"), text[:80])
                self.assertIn("Exit codes", text)
                self.assertEqual(text, self.lathe("help", *command.split()).stdout)
        self.assertRegex(self.lathe("version").stdout, r"\d+\.\d+\.\d+")
        self.assertEqual(self.lathe("--version").stdout, self.lathe("version").stdout)
        self.assertIn("collection drop", self.lathe("collection", "--help").stdout)

    def test_exit_codes(self):
        self.create(2)
        for arguments in ((), ("nothing",), ("collection", "nothing"), ("search",),
                          ("count",), ("count", "--collection"), ("count", "--nothing", "x"),
                          ("search", "--collection", self.name), ("serve",),
                          ("serve", "--data", "x", "--shards", "0"),
                          ("serve", "--data", "x", "--shards", "many"),
                          ("search", "--like", "1", "--collection", self.name, "-k", "99999"),
                          ("collection", "create", "x", "--dims", "0"),
                          ("collection", "create", "x", "--dims", "2", "--metric", "none"),
                          ("get", "--collection", self.name),
                          ("get", "str:" + "x" * 129, "--collection", self.name)):
            with self.subTest(arguments=arguments):
                done = self.lathe(*arguments, code=2)
                self.assertNotEqual(done.stderr, "")
                self.assertEqual(done.stdout, "")
        for arguments in (("count", "--collection", "nowhere"),
                          ("search", "--like", "404", "--collection", self.name)):
            with self.subTest(arguments=arguments):
                self.assertIn("NOT_FOUND", self.lathe(*arguments, code=1).stderr)
        closed = {**os.environ, "LATHE_SERVER": "127.0.0.1:1"}
        for arguments in (("info", "--timeout", "2s"), ("count", "--collection", "x")):
            with self.subTest(arguments=arguments):
                done = run_cli(*arguments, env=closed)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn("127.0.0.1:1", done.stderr)

    def test_options_come_from_flag_environment_and_file_in_this_order(self):
        config = self.path("lathe.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write("# a comment\nshards = 3\nmax-payload = 2KiB\nscan-threads = 1\n")
        server = self.server("--config", config, "--scan-threads", 2,
                             env={"LATHE_MAX_PAYLOAD": "4KiB", "LATHE_SCAN_THREADS": "3"})
        with lathe_case.Api(server.address) as api:
            info = api.call("GetInfo")
        self.assertEqual((info.shards, info.limits.payload_bytes), (3, 4096))
        log = server.log()
        self.assertRegex(log, r'name=scan-threads value="2" source="--scan-threads"')
        self.assertRegex(log, r'name=max-payload value="4KiB" source="LATHE_MAX_PAYLOAD"')
        self.assertRegex(log, r'name=shards value="3" source="[^"]*lathe.conf')
        with open(config, "a", encoding="ascii") as file:
            file.write("nonsense = 1\n")
        other = run_cli("serve", "--data", self.path("data"), "--config", config)
        self.assertEqual(other.returncode, 2)
        self.assertIn("nonsense", other.stderr)

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([PROGRAM, "help"], stdout=full, stderr=subprocess.PIPE,
                                  check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write", done.stderr)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    lathe_case.main()
