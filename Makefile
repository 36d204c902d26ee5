# The front door for people: `make run` and `make test` need nothing but this checkout.
BUILD ?= build
LATHE = $(BUILD)/release/cli/lathe

.PHONY: help run serve build test test-long check bench fuzz clean

help:
	@echo "make run        install packages, build, load the sample, search it, stop"
	@echo "make serve      the same server, left running"
	@echo "make build      only build: $(LATHE)"
	@echo "make test       every test suite (some minutes)"
	@echo "make check      sanitizers, 100 kills, lints"
	@echo "make test-long  2,000 kills and longer random runs"
	@echo "make bench DATA=DIR   benchmarks beside FAISS, on embeddings in DIR"
	@echo "make clean      remove $(BUILD)/"

build:
	@scripts/install-packages scripts/packages.txt
	@echo "Building (a minute the first time) ..."
	@scripts/build $(BUILD)/release -DLATHE_TESTS=OFF -- lathe

run: build
	@scripts/demo $(LATHE)

serve: build
	@scripts/serve $(LATHE) $(BUILD)/serve

test:
	@scripts/install-packages scripts/packages.txt scripts/packages-test.txt
	@scripts/test $(BUILD)

test-long:
	@scripts/install-packages scripts/packages.txt scripts/packages-test.txt
	@scripts/test $(BUILD) long

check:
	@scripts/install-packages scripts/packages.txt scripts/packages-test.txt
	@scripts/check $(BUILD)

bench:
	@scripts/install-packages scripts/packages.txt scripts/packages-test.txt
	@scripts/bench $(BUILD) "$(DATA)"

clean:
	rm -rf $(BUILD)
