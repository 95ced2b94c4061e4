# The front door. `make demo` and `make test` set up what they need.

SHELL := /bin/bash
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# The hot pair is one static file each: it must run whatever the host's libc is, and it is mapped
# at every container start. musl's start-up is the cheaper one; where Rust's std for it is not
# installed, or with MUSL=no, it is glibc. `--target` keeps the flag away from build scripts.
MUSL_TARGET := $(shell uname -m)-unknown-linux-musl
HAS_MUSL := $(wildcard $(shell rustc --print sysroot 2>/dev/null)/lib/rustlib/$(MUSL_TARGET)/lib)
HOT_TARGET := $(if $(filter no,$(MUSL)),$(HOST),$(if $(HAS_MUSL),$(MUSL_TARGET),$(HOST)))
NO_UNWIND := -C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,$(CURDIR)/packaging/hot-pair.ld
HOT_FLAGS := -C target-feature=+crt-static $(if $(findstring musl,$(HOT_TARGET)),$(NO_UNWIND))
STATIC := RUSTFLAGS="$(HOT_FLAGS)" cargo build --profile hot --locked \
	--no-default-features --target $(HOT_TARGET) --bin gpulease-runtime --bin gpulease-hook
# To be shown: sudo drops what cargo is found by.
AS_ROOT = sudo env \"PATH=\$$PATH\" \"RUSTUP_HOME=\$${RUSTUP_HOME:-\$$HOME/.rustup}\" \
	make $(MAKECMDGOALS)
NEXTEST := $(shell command -v cargo-nextest)

.PHONY: help build demo man messages packages test fuzz-quick test-faults test-odd-host test-rocm test-vm test-vm-engines test-vm-dmem test-packages gpu-check lint bench clean has-cargo is-root

help: ## Show what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

has-cargo:
	@command -v cargo >/dev/null || { echo "cargo is not on PATH: install Rust by rustup. Under" \
		"sudo, keep the PATH: $(AS_ROOT)" >&2; exit 1; }

is-root:
	@[ "$$(id -u)" = 0 ] || { echo "root is needed, for containers are made:" \
		"$(AS_ROOT)" >&2; exit 1; }

build: has-cargo ## Build the programs into dist/bin
	@echo "gpulease-runtime and gpulease-hook: static, for $(HOT_TARGET)"
	$(STATIC)
	cargo build --release --locked --bin gpulease
	mkdir -p dist/bin
	install -m 0755 $(TARGET_DIR)/$(HOT_TARGET)/hot/gpulease-runtime \
		$(TARGET_DIR)/$(HOT_TARGET)/hot/gpulease-hook $(TARGET_DIR)/release/gpulease dist/bin/

packages: build ## Build a deb and an rpm into dist
	packaging/packages.sh

demo: is-root build ## Lease simulated GPUs to real containers
	tests/lab/setup.sh --bare
	packaging/demo/demo.sh dist/bin

man: ## Write the tables of the code into the manual pages
	GPULEASE_WRITE_MAN=1 cargo test --quiet --locked --lib cli::manual::the_generated_parts

messages: has-cargo ## Write all texts that users see into docs/messages.md
	GPULEASE_WRITE_MESSAGES=1 cargo test --quiet --locked --features failpoints --test messages \
		the_page_of_messages

# umask: what others can write is refused, so the files that tests make must not be writable by them.
test: has-cargo ## Run all tests (as root: real runc, crun and Docker)
	@if [ "$$(id -u)" = 0 ]; then tests/lab/setup.sh; \
	else echo "not root: tests with real containers are SKIPPED"; fi
	cargo build --locked --features failpoints
ifneq ($(NEXTEST),)
	umask 022 && cargo nextest run --locked --features failpoints
else
	umask 022 && cargo test --locked --features failpoints --tests --lib
endif

test-faults: is-root ## Let every system call of a start and an end fail, one at a time (as root)
	tests/lab/setup.sh --bare
	cargo build --locked --features failpoints
ifneq ($(NEXTEST),)
	umask 022 && GPULEASE_FAULTS=all cargo nextest run --locked --features failpoints \
		--no-fail-fast --test faults
else
	umask 022 && GPULEASE_FAULTS=all cargo test --locked --features failpoints --test faults
endif

# What needs no engine: an engine's root is a host of its own.
ODD = --lib $(addprefix --test ,cli lifecycle errors edges passthrough precreate holders crash doctor nvml cdi busy)
test-odd-host: is-root has-cargo ## Run the tests without engines where the host is an odd one (as root)
	tests/lab/setup.sh --bare
	cargo build --locked --features failpoints
	umask 022 && tests/lab/odd-host.sh cargo $(if $(NEXTEST),nextest run,test) --locked \
		--features failpoints --no-fail-fast $(ODD)

fuzz-quick: is-root ## Try 30,000 specs and command lines made from fuzz/seeds (as root)
	cargo build --locked --features failpoints
ifneq ($(NEXTEST),)
	umask 022 && GPULEASE_FUZZ=30000 cargo nextest run --locked --features failpoints \
		--no-fail-fast --test fuzz
else
	umask 022 && GPULEASE_FUZZ=30000 cargo test --locked --features failpoints --test fuzz
endif

test-vm: is-root build ## Boot a whole Debian machine: systemd, Docker, Podman, reboot (as root)
	tests/vm/run.sh dist/bin

test-vm-engines: is-root build ## Boot it to install, use and uninstall only (as root)
	tests/vm/run.sh dist/bin --engines

test-vm-dmem: is-root build ## Boot it with a kernel that limits device memory, and limit it (as root)
	tests/vm/dmem.sh dist/bin

test-rocm: has-cargo ## Build gpulease-rocm and run it with ROCm's own library (as root)
	tests/rocm/run.sh

test-packages: is-root packages ## Install, use, upgrade and remove the packages (as root)
	tests/lab/setup.sh
	tests/packages/run.sh

gpu-check: build ## Put what tests/gpu/run.sh needs into dist/gpu, to be run where a GPU is
	tests/lab/setup.sh --bare
	cargo build --release --locked --example cuda-check --example cuda-share
	tests/gpu/stage.sh dist/bin $(TARGET_DIR)/release/examples dist/gpu

# Without `failpoints` there is no door for tests: that finds dead code.
lint: ## Check form, lints and the hot pair's dependencies
	cargo fmt --check
	cargo clippy --locked --all-targets --features failpoints -- -D warnings
	cargo clippy --locked -- -D warnings
	cargo clippy --locked --no-default-features --bins -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	tests/lint/hot-pair-dependencies.sh
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and bans are not checked"; fi
	@if command -v cargo-machete >/dev/null; then cargo machete; \
	else echo "cargo-machete is not installed: unused dependencies are not looked for"; fi

bench: is-root build ## Measure the shim beside the plain low-level runtime
	tests/lab/setup.sh --bare
	cargo bench --locked --features failpoints --bench allocate --bench freshness --bench startup

clean: ## Remove what was built
	cargo clean
	rm -rf --one-file-system dist
