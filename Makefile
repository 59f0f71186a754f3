# make train   installs into .venv on first use, then trains GoogLeNet on real images
# make test    installs what the tests need on first use, then runs them
# make bench   the headline table of the benchmarks
# make gpu-check  all that wants an NVIDIA GPU: operations, benchmark, a run (at most 8 minutes; PYTHON is used as it is)
# make clean   removes everything that the above have made, but no run
#
# Options pass through ARGS:  make train ARGS="--data cifar10 --epochs 30"
# Every path is relative, so the checkout may lie anywhere, also behind a space.

PYTHON ?= python3
VENV = .venv/bin/python
METADATA = setup.cfg pyproject.toml
INSTALL = $(VENV) -m pip install --quiet --disable-pip-version-check

.PHONY: train test bench gpu-check clean

train: .venv/core.stamp
	$(VENV) train.py $(ARGS)

test: .venv/test.stamp
	$(VENV) -m pytest $(ARGS)

bench: .venv/bench.stamp
	$(VENV) -m benchmarks $(or $(ARGS),googlenet)

# No environment is made: CuPy and PyTorch are those of the machine, or of .venv where there is one.
gpu-check:
	@$(if $(wildcard $(VENV)),$(VENV),$(PYTHON)) -m benchmarks.gpu_check $(ARGS)

.venv/core.stamp: $(METADATA) | $(VENV)
	@echo "installing minidl and its libraries into .venv (once; a minute or two) ..."
	@$(INSTALL) --editable .
	@touch $@

.venv/%.stamp: $(METADATA) | $(VENV)
	@echo "installing minidl[$*] into .venv (once; a minute or two) ..."
	@$(INSTALL) --editable ".[$*]"
	@touch $@

# Debian's Python comes without ensurepip and without the right to install beside the system's own packages.
$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "minidl needs Python 3.10 or newer, $(PYTHON) is " + sys.version.split()[0] + ": try make PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment: install the package python3-venv (sudo apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
