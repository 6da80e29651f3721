"""Models of KServe's server for V1, V2 and, where this KServe has OpenAI's types, its routes. Started with
`--http_port PORT`."""

from kserve import InferOutput, InferResponse, Model, ModelServer

CHUNK = {"id": "c", "created": 1, "model": "chat"}


class Sum(Model):
    def __init__(self):
        super().__init__("sum")
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        if isinstance(payload, dict):
            return {"predictions": [sum(row) for row in payload["instances"]]}
        total = payload.inputs[0].as_numpy().sum(axis=1, keepdims=True)
        output = InferOutput(name="y", shape=list(total.shape), datatype="FP32", data=total.flatten().tolist())
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=[output])


def chat_model():
    from kserve.protocol.rest.openai import OpenAIModel
    from kserve.protocol.rest.openai.types.openapi import CreateChatCompletionResponse as ChatCompletion
    from kserve.protocol.rest.openai.types.openapi import CreateChatCompletionStreamResponse as Chunk

    class Chat(OpenAIModel):
        async def create_completion(self, request):
            raise NotImplementedError

        async def create_chat_completion(self, request):
            if request.params.stream:
                return self.stream()
            message = {"role": "assistant", "content": "one two"}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            return ChatCompletion(**CHUNK, object="chat.completion", choices=[choice])

        async def stream(self):
            for word in ("one", " two"):
                choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
                yield Chunk(**CHUNK, object="chat.completion.chunk", choices=[choice])

    return Chat("chat")


if __name__ == "__main__":
    models = [Sum()]
    try:
        models.append(chat_model())
    except ImportError:
        pass
    ModelServer(enable_grpc=False, workers=1).start(models)
