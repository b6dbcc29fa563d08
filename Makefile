# For people; the work is done by `cargo xtask` and scripts/install-deps.

TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/debug/switchyard
RELEASE := $(TARGET)/release
PEERS := $(TARGET)/bench-peers

.DEFAULT_GOAL := help
.PHONY: help up test chaos rotation streams zones check ci fmt lint sqlx openapi deps bench bench-peers bench-n8n

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

up: deps ## install what is missing, build, and start everything on this machine
	SQLX_OFFLINE=$${SQLX_OFFLINE:-true} cargo build -p switchyard
	@exec $(BIN) up

test: deps ## every test, against a private Postgres and NATS
	cargo xtask test

chaos: deps ## kill everything at random while 1,000 events come in, and account for each (CHAOS_SEED=… repeats one)
	SQLX_OFFLINE=$${SQLX_OFFLINE:-true} cargo build -p switchyard -p e2e --bins
	@SWITCHYARD_BIN=$(abspath $(BIN)) $(dir $(BIN))chaos

rotation: deps ## exchange the keys of 10,000 credentials under load, with kill -9 at any moment (CREDENTIALS=… for another number)
	SQLX_OFFLINE=$${SQLX_OFFLINE:-true} cargo build --release -p switchyard
	SQLX_OFFLINE=$${SQLX_OFFLINE:-true} SWITCHYARD_BIN=$(abspath $(RELEASE)/switchyard) \
		SWITCHYARD_TEST_CREDENTIALS=$${CREDENTIALS:-10000} cargo test -p e2e --test it -- --nocapture rotation::

streams: deps ## watch 1,000 runs through a proxy that cuts every connection (STREAMS=… for another number)
	SWITCHYARD_TEST_STREAMS=$${STREAMS:-1000} cargo xtask test -p engine cut_streams

zones: ## compare the next fire of schedules with a slow reference, at every change of the clock in twenty years
	cargo test -p eventsvc --lib -- --ignored --nocapture every_change_of_twenty_years

check: deps ## dependency rules, schema ownership, generated files
	cargo xtask check

ci: ## what has to pass before a change goes in
	.ci/run

fmt: ## format the code
	cargo fmt --all

lint: ## what clippy thinks
	cargo clippy --workspace --all-targets -- -D warnings

sqlx: deps ## write .sqlx after changing SQL
	cargo xtask sqlx

openapi: deps ## write openapi/ after changing routes or events
	cargo xtask openapi

bench: deps ## how fast it is beside the raw parts of this machine; BENCH=--quick for a smoke test
	SQLX_OFFLINE=$${SQLX_OFFLINE:-true} cargo build --release -p switchyard -p bench
	@$(RELEASE)/bench $(BENCH)

bench-peers: deps ## the same agent on other frameworks, beside ours
	SQLX_OFFLINE=$${SQLX_OFFLINE:-true} cargo build --release -p switchyard -p bench
	cargo build --release --locked --manifest-path bench/peers/rig/Cargo.toml --target-dir $(PEERS)/rig
	python3 -m venv $(PEERS)/python
	$(PEERS)/python/bin/pip install --quiet --requirement bench/peers/python/requirements.txt
	@$(RELEASE)/bench peers --rig $(PEERS)/rig/release/rig-peer --python $(PEERS)/python/bin/python $(BENCH)

bench-n8n: deps ## a webhook that waits for an answer, on n8n (installed into a throwaway folder) and here
	SQLX_OFFLINE=$${SQLX_OFFLINE:-true} cargo build --release -p switchyard -p bench
	bench/peers/n8n/install $(PEERS)/n8n
	@$(RELEASE)/bench hooks --node $(PEERS)/n8n/bin/node --n8n $(PEERS)/n8n/node_modules/n8n/bin/n8n $(BENCH)

deps: ## check, and where possible install, what the machine needs
	@scripts/install-deps
