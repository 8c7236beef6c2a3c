# The images of the service and of the bundled trainer. Each is built in one stage and run in another, without a
# compiler, pip or root. The service's stage is the last: `docker build .` makes it.
#
# Behind a company's proxy:
#   PIP_INDEX_URL=https://index.example/simple docker build --secret id=pip_index_url,env=PIP_INDEX_URL \
#       --secret id=pip_ca,src=company-ca.pem .
# Neither secret is in a layer of the image.
FROM python:3.12-slim AS build
WORKDIR /src
# pip is in an environment of its own, which no image contains.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/deepcompress
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY deploy/image/install.sh deploy/image/install.sh
COPY client client
COPY service service

FROM build AS build-service
RUN --mount=type=secret,id=pip_index_url --mount=type=secret,id=pip_ca \
    sh deploy/image/install.sh /opt/build /opt/deepcompress server

FROM build AS build-trainer
RUN --mount=type=secret,id=pip_index_url --mount=type=secret,id=pip_ca \
    sh deploy/image/install.sh /opt/build /opt/deepcompress service,trainer

FROM python:3.12-slim AS runtime
RUN groupadd --system --gid 10001 deepcompress \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/deepcompress --no-create-home deepcompress \
    && install -d -o deepcompress -g deepcompress -m 0750 /var/lib/deepcompress
ENV PATH=/opt/deepcompress/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/deepcompress
VOLUME /var/lib/deepcompress
STOPSIGNAL SIGTERM
ENTRYPOINT ["deepcompress"]

FROM runtime AS trainer
COPY --from=build-trainer /opt/deepcompress /opt/deepcompress
ENV MPLCONFIGDIR=/tmp
CMD ["train", "tiny", "--out", "/var/lib/deepcompress/runs"]

FROM runtime AS service
COPY --from=build-service /opt/deepcompress /opt/deepcompress
ENV DEEPCOMPRESS_HOST=0.0.0.0 \
    DEEPCOMPRESS_PORT=8321 \
    DEEPCOMPRESS_STATE_URL=sqlite:////var/lib/deepcompress/state.sqlite3
EXPOSE 8321
# Without the modules of urllib and of the environment, it takes 20 ms of CPU: it must also end on a busy machine.
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-ISc", "import socket; s = socket.create_connection(('127.0.0.1', 8321), 8); s.sendall(b'GET /readyz HTTP/1.0\\r\\n\\r\\n'); raise SystemExit(b' 200 ' not in s.recv(32))"]
CMD ["serve"]
