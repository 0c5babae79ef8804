# Verbs of the project; `make help` lists them. Stack verbs honour AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL and
# wrappers such as aws-vault.
STACK ?= tidemark
CONFIG ?= config.json
PYTHON = .venv/bin/python
# Architectures of `make dist`: that of the image, if one is to be built.
ARCHES ?= $(or $(IMAGE_ARCH),amd64)
export STACK CONFIG BUCKET REGIONS CODE_BUCKET SCALER_ZIP ARCHES

# One more than cores: a journey that only waits runs beside those that work (.config/nextest.toml).
TEST_THREADS ?= $(shell echo $$(($$(nproc) + 1)))

.DEFAULT_GOAL := help
.PHONY: help setup build test check lint demo soak bench dist validate create-stack update-stack delete-stack \
  build-ami publish clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is lacking, and say it
	@scripts/setup

build: setup ## the programs, for work on them
	@cargo build --locked

# Programs and tests in one build: tests' own dependencies give some crates more features, and two builds would compile
# those twice.
test: setup lint ## everything but the soak
	@cargo build --workspace --lib --bins --tests --locked
	@cargo nextest run --workspace --locked --test-threads $(TEST_THREADS)

check: setup lint ## the quick tier: lint, units, contracts
	@cargo build --workspace --lib --bins --tests --locked
	@cargo nextest run --workspace --locked -E 'not binary(journeys)'

lint: setup ## formatting, clippy, shell scripts, template
	@scripts/lint

demo: build ## the main job, end to end, on this machine
	@target/debug/lab demo

soak: setup ## the long tests
	@cargo build --workspace --lib --bins --tests --locked
	@cargo nextest run --profile soak --workspace --locked --run-ignored only
	@PROPTEST_CASES=100000 cargo nextest run --profile soak --workspace --locked -E 'kind(lib) & test(laws)'

bench: dist ## measure start-up, hook and sizes against the limits
	@cargo build --quiet --locked --workspace --lib --bins --bench prelude --bench instances
	@cargo bench --quiet --locked --workspace --profile dev --bench prelude
	@cargo bench --quiet --locked --workspace --profile dev --bench instances

dist: ## programs and scaler.zip as they are shipped
	@scripts/setup dist
	@scripts/dist

validate: setup ## check the template here and with CloudFormation
	@.venv/bin/cfn-lint cloudformation/*.yml
	@$(PYTHON) scripts/check-template cloudformation/ci-stack.yml
	@$(PYTHON) scripts/stack validate

create-stack: setup $(if $(SCALER_ZIP),,dist) ## create STACK from CONFIG
	@$(PYTHON) scripts/stack create

update-stack: setup $(if $(SCALER_ZIP),,dist) ## update STACK from CONFIG; running jobs finish
	@$(PYTHON) scripts/stack update

delete-stack: setup ## delete STACK; a bucket with secrets is kept
	@$(PYTHON) scripts/stack delete

build-ami: setup $(if $(PROGRAMS),,dist) ## build the image, and record it in SSM
	@$(PYTHON) scripts/build-ami

publish: setup $(if $(SCALER_ZIP),,dist) ## upload template and scaler to BUCKET [REGIONS="a b"]
	@$(PYTHON) scripts/publish

clean: ## remove what was built (.venv stays)
	@rm -rf target
