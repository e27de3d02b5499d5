# One command, then it ends:  docker run --rm --env DATABASE_URL --volume "$PWD:/etc/usage-jobs:ro" IMAGE run
# Any base with python3 (3.11 or later), its venv module and CA certificates will do: --build-arg BASE=…
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS builder
# What the image can write besides the tables: `schedule` writes reports and exports, to object storage too. A storage
# needs its own library as well (s3fs, gcsfs): build an image from this one that installs it.
ARG EXTRAS=reports,storage
WORKDIR /src
# pip gets an environment of its own, so that the job's carries no installer.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv
COPY . .
# A build host with an index or an authority of its own hands them in (docker and buildah alike), and neither stays
# in a layer:  --secret id=pip.conf,src=…  --secret id=ca.pem,src=…  (then `cert = /run/secrets/ca.pem` in the former).
# Bytecode is compiled here, since the user below may not write it, and unchecked, since a rebuilt layer may carry
# other file times: every start would then compile all of it anew.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    /opt/pip/bin/pip --python /opt/venv/bin/python3 install --no-cache-dir --no-compile -c config/constraints.txt ".[$EXTRAS]" \
    && /opt/venv/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

FROM ${BASE}
COPY --from=builder /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# Where the job finds a mounted settings.toml with its rates.csv, and its .env.local.
WORKDIR /etc/usage-jobs
# A number, so that Kubernetes can see that it is not root. It owns nothing; it writes files only where a
# folder is mounted for them ([schedule] reports).
USER 10001:10001
ENTRYPOINT ["usage-jobs"]
# No CMD: a job that lost its arguments must fail (exit 2), not print its help every night and look well.
