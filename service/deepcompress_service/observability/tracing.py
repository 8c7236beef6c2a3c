"""OpenTelemetry traces: a span for each request, with child spans for its parts.

With tracing off, `span` does nothing and no package of OpenTelemetry is imported.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastapi import FastAPI

_tracer: Any = None
_NO_SPAN = nullcontext()


class TracingUnavailableError(RuntimeError):
    """Tracing is on, and its packages are not installed."""


def install(app: FastAPI) -> None:
    """Trace the app's requests and send the traces over OTLP.

    Raises:
        TracingUnavailableError: the packages of the extra [tracing] are not installed.
    """
    global _tracer  # one tracer per process, as OpenTelemetry has one provider
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingUnavailableError(
            "DEEPCOMPRESS_TRACING is set, but its packages are missing: in a clone of deepcompress, "
            "pip install '.[service,tracing]'"
        ) from error
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        provider = TracerProvider(resource=Resource.create({"service.name": "deepcompress"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    _tracer = trace.get_tracer("deepcompress")
    FastAPIInstrumentor.instrument_app(app, excluded_urls="healthz,readyz,metrics")


def span(name: str, **attributes: str | int | float) -> AbstractContextManager[object]:
    """Return a span around a part of a request. Attributes are counts and names, never text of a rollout."""
    if _tracer is None:
        return _NO_SPAN
    started: AbstractContextManager[object] = _tracer.start_as_current_span(name, attributes=attributes)
    return started
