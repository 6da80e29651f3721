"""Chats, embeddings and a failing call of the real OpenAI client, traced by one of three instrumentations.

usage: otel_calls.py official|openllmetry|openinference MODEL_SERVER COLLECTOR
"""

import os
import sys

os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "span_only"
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"

import openai
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

convention, server, collector = sys.argv[1:]
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{collector}/v1/traces")))
trace.set_tracer_provider(provider)

if convention == "official":
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
elif convention == "openllmetry":
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor
else:
    from openinference.instrumentation.openai import OpenAIInstrumentor
OpenAIInstrumentor().instrument(tracer_provider=provider)

client = openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)
tracer = trace.get_tracer("agent")
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def chat(content, **more):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    return client.chat.completions.create(model="small", messages=messages, max_tokens=5, temperature=0.5, **more)


with tracer.start_as_current_span("conversation"):
    chat("first")
    for _ in chat("second", stream=True, stream_options={"include_usage": True}):
        pass
with tracer.start_as_current_span("agent"):
    messages = [
        {"role": "user", "content": "Rain?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call-1", "content": "dry"},
    ]
    client.chat.completions.create(model="large", messages=messages, tools=[WEATHER])
client.embeddings.create(model="vectors", input="a text")
try:
    chat("fail")
except openai.RateLimitError as error:
    assert error.status_code == 429
else:
    raise AssertionError("the server should have refused")
provider.shutdown()
