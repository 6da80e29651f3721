"""A model server on FastAPI: an echo, a stream, a large answer, chat completions and a WebSocket."""

import hashlib
import json

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, Response, StreamingResponse

app = FastAPI()


@app.post("/echo")
async def echo(request: Request):
    body = await request.body()
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


@app.get("/large")
@app.head("/large")
async def large():
    return Response(b"z" * 1_048_576, media_type="application/octet-stream")


@app.get("/stream")
async def stream():
    async def events():
        for number in range(5):
            yield f"data: {number}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.post("/v1/chat/completions")
async def chat(request: Request):
    asked = await request.json()
    if asked["model"] != "m":
        return JSONResponse({"error": {"message": "no such model", "code": "model_not_found"}}, 404)
    head = {"id": "c1", "created": 1, "model": "m"}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "one two"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}

    async def chunks():
        for word in ("one", " two"):
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            yield f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(chunks(), media_type="text/event-stream")


@app.websocket("/ws")
async def answer(socket: WebSocket):
    await socket.accept()
    async for message in messages_of(socket):
        if isinstance(message, bytes):
            await socket.send_bytes(message)
        else:
            await socket.send_text(message)


async def messages_of(socket: WebSocket):
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        yield message["text"] if message.get("text") is not None else message["bytes"]
