# The service's image: built in one stage, run in another without a compiler, a shell history or root.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/deepcompress
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY client client
COPY service service
# service, or service,trainer for the image of the bundled trainer
ARG EXTRAS=service
RUN /opt/deepcompress/bin/pip install --no-cache-dir -c constraints.txt ".[$EXTRAS]"

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/deepcompress --create-home deepcompress
COPY --from=build /opt/deepcompress /opt/deepcompress
ENV PATH=/opt/deepcompress/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp \
    DEEPCOMPRESS_HOST=0.0.0.0 \
    DEEPCOMPRESS_PORT=8321 \
    DEEPCOMPRESS_STATE_URL=sqlite:////var/lib/deepcompress/state.sqlite3
USER 10001
WORKDIR /var/lib/deepcompress
VOLUME /var/lib/deepcompress
EXPOSE 8321
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8321/readyz', timeout=2)"]
ENTRYPOINT ["deepcompress"]
CMD ["serve"]
