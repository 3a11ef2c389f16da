# The project with its .venv, checked while it is built:
#   docker build -t impala .
#   docker run --init --shm-size=2g -v "$PWD/runs:/impala/runs" impala train
# With DeepMind Lab, from a wheel of your own that lies in this folder:
#   docker build -t impala --build-arg DEEPMIND_LAB_WHEEL=the.whl .
# For NVIDIA GPUs (then docker run --gpus=all):
#   docker build -t impala --build-arg GPU=on .
# ROMs stay outside: mount yours, and name the folder in ALE_PY_ROM_DIR.
FROM python:3.10-slim-bookworm
WORKDIR /impala

# First what the installation is made from, so that it is kept while the rest
# changes. Nothing but this image's libraries is linked to.
COPY impala requirements*.txt requirements*.lock .python-version ./
COPY programs/__init__.py programs/startup.py programs/
COPY programs/commands/__init__.py programs/commands/doctor.py \
  programs/commands/downloads.py programs/commands/fetch.py programs/commands/
COPY programs/launching/__init__.py programs/launching/isolation.py \
  programs/launching/
ARG GPU=off
RUN UV_NO_CACHE=1 ./impala gpu "$GPU" && rm -rf .venv.uv

# COPY wants a file: without a wheel it gets one that is here anyway.
ARG DEEPMIND_LAB_WHEEL=
COPY ${DEEPMIND_LAB_WHEEL:-requirements.lock} /tmp/wheel/
RUN if [ -n "$DEEPMIND_LAB_WHEEL" ]; then \
    apt-get update \
    && apt-get install -y --no-install-recommends libosmesa6 \
    && rm -rf /var/lib/apt/lists/* \
    && .venv/bin/python -m pip install --no-cache-dir /tmp/wheel/*.whl \
    && .venv/bin/python -c 'import deepmind_lab'; \
  fi && rm -rf /tmp/wheel

COPY . .
# The tests fetch ROMs; removed in the same step, they are in no layer.
RUN XDG_DATA_HOME=/tmp/data ./impala check -m 'not slow and not thorough' \
  && rm -rf /tmp/data .mypy_cache .pytest_cache .ruff_cache

ENTRYPOINT ["/impala/impala"]
CMD ["help"]
