"""What the test files share: a test case with servers and connections that are always cleaned up."""
import os
import random
import sys
import unittest

import lathe_server  # sets gRPC's environment before grpc is imported
import grpc

from lathe_reflection import Api

SEED = int(os.environ.get("LATHE_TEST_SEED") or random.SystemRandom().randrange(1 << 32))


def main():
    lathe_server.require_program()
    print(f"seed {SEED} (LATHE_TEST_SEED={SEED} repeats this run)", flush=True)
    unittest.main(verbosity=2)


class LatheCase(unittest.TestCase):
    maxDiff = 4000

    def server(self, *options, start=True, **more):
        server = lathe_server.Server(options=options, **more)
        self.addCleanup(server.close)
        self.addCleanup(self._show_log, server)
        return server.start() if start else server

    def _show_log(self, server):
        if not self._outcome.success and os.path.exists(server.log_path):
            print(f"--- what the server of {self.id()} said last ---\n{server.log_tail(3000)}",
                  file=sys.stderr)

    def api(self, server, **more):
        api = Api(server.address, **more)
        self.addCleanup(api.close)
        return api

    def assert_fails(self, api, code, call, field=None, text=None):
        """`call` fails with the status code of this name, names the field, and says the text."""
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        error = caught.exception
        self.assertEqual(error.code().name, code, error.details())
        if field is not None:
            self.assertEqual(api.fields_at_fault(error), [field], error.details())
        if text is not None:
            self.assertIn(text, error.details())
        return error
