# `make` lists the commands.
.DEFAULT_GOAL := help
UV := uv run --quiet

.PHONY: help
help: ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: ## Install what is missing (Debian, as root), and the Python environment
	@./tools/prerequisites.sh
	@uv sync --quiet --locked

.PHONY: demo
demo: setup ## From nothing to a tuned service under load, on a real cluster on this machine
	@$(UV) python -m e2e.demo

.PHONY: test
test: setup ## Everything: lint, types, layers, unit tests, and the real cluster's tests
	$(UV) ruff check
	$(UV) ruff format --check
	$(UV) mypy
	$(UV) lint-imports
	$(UV) python -m tools.generate --check
	$(UV) pytest tests --numprocesses=auto --dist=worksteal
	$(UV) pytest e2e

.PHONY: unit
unit: setup ## The tests that need no cluster
	$(UV) pytest tests --numprocesses=auto --dist=worksteal

.PHONY: bench
bench: setup ## The figures, each as a ratio measured side by side
	@$(UV) python -m bench

.PHONY: generate
generate: setup ## Write the generated files anew: CRDs, chart, Kustomize base, reference
	$(UV) python -m tools.generate
