PYTHON ?= python3
VENV := .venv
# Where there is no CPU-only wheel by that name: make TORCH="torch==2.13.0 --index-url URL"
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow soak lint check contract clean

help:
	@echo "make demo    build swin_tiny_shapes in INT8, verify it, and run it on images"
	@echo "make test    run the tests but the slow ones"
	@echo "make test-slow  run those: full-size models, the soak, video"
	@echo "make soak    run two minutes of cameras that stall, die and come back"
	@echo "make check   ruff, mypy and the tests"
	@echo "make contract  TensorRT code against NVIDIA's bindings 10.3 and 11.4"

# Each stamp is younger than what it installed from, so a changed pyproject.toml reinstalls.
$(VENV)/.build: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[build]"
	@touch $@

$(VENV)/.dev: $(VENV)/.build
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

# A model this small need not be faster in INT8 on every processor, which a build would refuse.
demo: $(VENV)/.build
	$(BIN)/python export/build.py --model swin_tiny_shapes --precision int8 --keep-slower
	$(BIN)/python -m shapes.render engines/built/demo-images --task classification --images 3 --seed 7
	$(BIN)/vitrine run engines/built/swin_tiny_shapes-int8-cpu engines/built/demo-images/*.png

test: $(VENV)/.dev
	$(BIN)/pytest -m "not slow"

test-slow: $(VENV)/.dev
	$(BIN)/pytest -m slow

# Two minutes of bad cameras.
soak: $(VENV)/.dev
	$(BIN)/pytest tests/cli/test_soak.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=examples $(BIN)/mypy examples/*.py

check: lint test

# Against NVIDIA's bindings of both ends of the range, which are downloaded and not kept by git.
contract: $(VENV)/.dev
	$(BIN)/python tests/contract/make_stubs.py
	$(BIN)/pytest tests/contract

clean:
	rm -rf $(VENV) engines/built .tensorrt-stubs .pytest_cache .mypy_cache .ruff_cache *.egg-info
