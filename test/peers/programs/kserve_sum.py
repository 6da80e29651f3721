"""A model of KServe's server that adds what it is given. Started with `--http_port PORT --grpc_port PORT`."""

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Sum(Model):
    def __init__(self):
        super().__init__("sum")
        self.ready = True

    async def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        total = payload.inputs[0].as_numpy().sum(axis=1, keepdims=True)
        # Triton's client of gRPC reads tensors in raw bytes only.
        data = total if payload.from_grpc else total.flatten().tolist()
        output = InferOutput(name="y", shape=list(total.shape), datatype="FP32", data=data)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    ModelServer(workers=1).start([Sum()])
