import {
  CallSchema,
  type CallTypes,
  type MethodDefinition,
  type SchemaDefinition,
  shortMessages,
} from './schema.ts';

/**
 * The messages of two services as numbers, names and types of fields; no text of their files is here.
 *
 * - `inference.GRPCInferenceService`: the Open Inference Protocol (Apache-2.0, kserve/open-inference-protocol) with the
 *   additions of Triton (BSD-3-Clause, triton-inference-server/common, `grpc_service.proto`) and of MLServer (Apache-2.0).
 * - `tensorflow.serving.PredictionService` and `ModelService` (Apache-2.0, tensorflow/serving, and tensorflow/tensorflow
 *   for tensors and examples).
 */
const NO_ENUMS: SchemaDefinition['enums'] = new Map();

/** Where requests and answers of the Open Inference Protocol have tensors as plain bytes. */
const RAW_TENSORS = {
  tensors: 5,
  datatype: 2,
  parameters: 4,
  structure: [],
  contents: {
    BOOL: 'bool_contents',
    ...Object.fromEntries(['INT8', 'INT16', 'INT32'].map((type) => [type, 'int_contents'])),
    INT64: 'int64_contents',
    ...Object.fromEntries(['UINT8', 'UINT16', 'UINT32'].map((type) => [type, 'uint_contents'])),
    UINT64: 'uint64_contents',
    FP32: 'fp32_contents',
    FP64: 'fp64_contents',
    BYTES: 'bytes_contents',
    FP16: '',
    BF16: '',
  },
} as const;

const INFERENCE = shortMessages(
  'inference',
  {
    ServerLiveRequest: {},
    ServerLiveResponse: { 1: 'bool live' },
    ServerReadyRequest: {},
    ServerReadyResponse: { 1: 'bool ready' },
    ModelReadyRequest: { 1: 'string name', 2: 'string version' },
    ModelReadyResponse: { 1: 'bool ready' },
    ServerMetadataRequest: {},
    ServerMetadataResponse: { 1: 'string name', 2: 'string version', 3: 'repeated string extensions' },
    ModelMetadataRequest: { 1: 'string name', 2: 'string version' },
    ModelMetadataResponse: {
      1: 'string name',
      2: 'repeated string versions',
      3: 'string platform',
      4: 'repeated TensorMetadata inputs',
      5: 'repeated TensorMetadata outputs',
      6: 'map InferParameter parameters',
    },
    TensorMetadata: {
      1: 'string name',
      2: 'string datatype',
      3: 'repeated int64 shape',
      4: 'map InferParameter parameters',
    },
    InferParameter: {
      1: 'bool bool_param',
      2: 'int64 int64_param',
      3: 'string string_param',
      4: 'double double_param',
      5: 'uint64 uint64_param',
    },
    InferTensorContents: {
      1: 'repeated bool bool_contents',
      2: 'repeated int32 int_contents',
      3: 'repeated int64 int64_contents',
      4: 'repeated uint32 uint_contents',
      5: 'repeated uint64 uint64_contents',
      6: 'repeated float fp32_contents',
      7: 'repeated double fp64_contents',
      8: 'repeated bytes bytes_contents',
    },
    ModelInferRequest: {
      1: 'string model_name',
      2: 'string model_version',
      3: 'string id',
      4: 'map InferParameter parameters',
      5: 'repeated InferTensor inputs',
      6: 'repeated InferRequestedOutputTensor outputs',
      7: 'repeated bytes raw_input_contents',
    },
    // Inputs and outputs have the same fields. Over HTTP their contents are `data`.
    InferTensor: {
      1: 'string name',
      2: 'string datatype',
      3: 'repeated int64 shape',
      4: 'map InferParameter parameters',
      5: 'InferTensorContents contents data',
    },
    InferRequestedOutputTensor: { 1: 'string name', 2: 'map InferParameter parameters' },
    ModelInferResponse: {
      1: 'string model_name',
      2: 'string model_version',
      3: 'string id',
      4: 'map InferParameter parameters',
      5: 'repeated InferTensor outputs',
      6: 'repeated bytes raw_output_contents',
    },
    ModelStreamInferResponse: { 1: 'string error_message', 2: 'ModelInferResponse infer_response' },
    ModelRepositoryParameter: {
      1: 'bool bool_param',
      2: 'int64 int64_param',
      3: 'string string_param',
      4: 'bytes bytes_param',
    },
    RepositoryIndexRequest: { 1: 'string repository_name', 2: 'bool ready' },
    RepositoryIndexResponse: { 1: 'repeated ModelIndex models' },
    ModelIndex: { 1: 'string name', 2: 'string version', 3: 'string state', 4: 'string reason' },
    RepositoryModelLoadRequest: {
      1: 'string repository_name',
      2: 'string model_name',
      3: 'map ModelRepositoryParameter parameters',
    },
    RepositoryModelLoadResponse: {},
    RepositoryModelUnloadRequest: {
      1: 'string repository_name',
      2: 'string model_name',
      3: 'map ModelRepositoryParameter parameters',
    },
    RepositoryModelUnloadResponse: {},
  },
  NO_ENUMS,
  {
    ModelInferRequest: { tensors: { ...RAW_TENSORS, data: 7 } },
    ModelInferResponse: { tensors: { ...RAW_TENSORS, data: 6 } },
    // Triton wraps the answers of streams, MLServer does not. Its answers have fields above 2.
    ModelStreamInferResponse: { otherwise: 'inference.ModelInferResponse' },
  },
);

/** Data types of TensorFlow, by number from 0. */
const DATA_TYPES = [
  'INVALID FLOAT DOUBLE INT32 UINT8 INT16 INT8 STRING COMPLEX64 INT64 BOOL QINT8 QUINT8 QINT32 BFLOAT16 QINT16',
  'QUINT16 UINT16 COMPLEX128 HALF RESOURCE VARIANT UINT32 UINT64 FLOAT8_E5M2 FLOAT8_E4M3FN FLOAT8_E4M3FNUZ',
  'FLOAT8_E4M3B11FNUZ FLOAT8_E5M2FNUZ INT4 UINT4 INT2 UINT2',
].flatMap((line) => line.split(' '));

const TENSORFLOW_ENUMS: SchemaDefinition['enums'] = new Map([
  ['tensorflow.DataType', new Map(DATA_TYPES.map((name, number) => [number, `DT_${name}`]))],
  [
    'tensorflow.serving.State',
    new Map([
      [0, 'UNKNOWN'],
      [10, 'START'],
      [20, 'LOADING'],
      [30, 'AVAILABLE'],
      [40, 'UNLOADING'],
      [50, 'END'],
    ]),
  ],
  ...['Code', 'RequestState', 'DeterministicMode'].map((name): [string, ReadonlyMap<number, string>] => [
    `tensorflow.serving.${name}`,
    new Map(),
  ]),
]);

const TENSORFLOW = shortMessages(
  'tensorflow',
  {
    TensorProto: {
      1: 'DataType dtype',
      2: 'TensorShapeProto tensor_shape',
      3: 'int32 version_number',
      4: 'bytes tensor_content',
      5: 'repeated float float_val',
      6: 'repeated double double_val',
      7: 'repeated int32 int_val',
      8: 'repeated bytes string_val',
      9: 'repeated float scomplex_val',
      10: 'repeated int64 int64_val',
      11: 'repeated bool bool_val',
      12: 'repeated double dcomplex_val',
      13: 'repeated int32 half_val',
      14: 'repeated ResourceHandleProto resource_handle_val',
      15: 'repeated VariantTensorDataProto variant_val',
      16: 'repeated uint32 uint32_val',
      17: 'repeated uint64 uint64_val',
      18: 'bytes float8_val',
    },
    TensorShapeProto: { 2: 'repeated Dim dim', 3: 'bool unknown_rank' },
    Dim: { 1: 'int64 size', 2: 'string name' },
    ResourceHandleProto: {
      1: 'string device',
      2: 'string container',
      3: 'string name',
      4: 'uint64 hash_code',
      5: 'string maybe_type_name',
      6: 'repeated DtypeAndShape dtypes_and_shapes',
    },
    DtypeAndShape: { 1: 'DataType dtype', 2: 'TensorShapeProto shape' },
    VariantTensorDataProto: { 1: 'string type_name', 2: 'bytes metadata', 3: 'repeated TensorProto tensors' },
    Example: { 1: 'Features features' },
    Features: { 1: 'map Feature feature' },
    Feature: { 1: 'BytesList bytes_list', 2: 'FloatList float_list', 3: 'Int64List int64_list' },
    BytesList: { 1: 'repeated bytes value' },
    FloatList: { 1: 'repeated float value' },
    Int64List: { 1: 'repeated int64 value' },
  },
  TENSORFLOW_ENUMS,
  {
    TensorProto: {
      tensors: { tensors: 0, data: 4, datatype: 1, parameters: 0, structure: [1, 2, 3], contents: {} },
    },
  },
);

const SERVING = shortMessages(
  'tensorflow.serving',
  {
    'google.protobuf.Int64Value': { 1: 'int64 value' },
    ModelSpec: {
      1: 'string name',
      2: 'google.protobuf.Int64Value version',
      3: 'string signature_name',
      4: 'string version_label',
    },
    PredictRequest: {
      1: 'ModelSpec model_spec',
      2: 'map tensorflow.TensorProto inputs',
      3: 'repeated string output_filter',
      5: 'PredictStreamedOptions predict_streamed_options',
      6: 'bytes client_id',
      7: 'RequestOptions request_options',
    },
    RequestOptions: {
      1: 'bytes client_id',
      2: 'DeterministicMode deterministic_mode',
      3: 'bool return_additional_arrays_from_prefill',
      4: 'repeated int64 return_stoptokens',
      6: 'int64 max_cache_length',
      9: 'bool return_all_stoptokens',
      13: 'Handshake handshake',
    },
    Handshake: { 1: 'int64 estimated_payload_bytes' },
    PredictStreamedOptions: {
      1: 'RequestState request_state',
      2: 'map int32 split_dimensions',
      3: 'bool return_single_response',
    },
    PredictResponse: { 1: 'map tensorflow.TensorProto outputs', 2: 'ModelSpec model_spec' },
    Input: {
      1: 'ExampleList example_list',
      2: 'ExampleListWithContext example_list_with_context',
    },
    ExampleList: { 1: 'repeated tensorflow.Example examples' },
    ExampleListWithContext: { 1: 'repeated tensorflow.Example examples', 2: 'tensorflow.Example context' },
    ClassificationRequest: { 1: 'ModelSpec model_spec', 2: 'Input input' },
    ClassificationResponse: { 1: 'ClassificationResult result', 2: 'ModelSpec model_spec' },
    ClassificationResult: { 1: 'repeated Classifications classifications' },
    Classifications: { 1: 'repeated Class classes' },
    Class: { 1: 'string label', 2: 'float score' },
    RegressionRequest: { 1: 'ModelSpec model_spec', 2: 'Input input' },
    RegressionResponse: { 1: 'RegressionResult result', 2: 'ModelSpec model_spec' },
    RegressionResult: { 1: 'repeated Regression regressions' },
    Regression: { 1: 'float value' },
    MultiInferenceRequest: { 1: 'repeated InferenceTask tasks', 2: 'Input input' },
    InferenceTask: { 1: 'ModelSpec model_spec', 2: 'string method_name' },
    MultiInferenceResponse: { 1: 'repeated InferenceResult results' },
    InferenceResult: {
      1: 'ModelSpec model_spec',
      2: 'ClassificationResult classification_result',
      3: 'RegressionResult regression_result',
    },
    GetModelMetadataRequest: { 1: 'ModelSpec model_spec', 2: 'repeated string metadata_field' },
    GetModelMetadataResponse: { 1: 'ModelSpec model_spec' },
    GetModelStatusRequest: { 1: 'ModelSpec model_spec' },
    GetModelStatusResponse: { 1: 'repeated ModelVersionStatus model_version_status' },
    ModelVersionStatus: { 1: 'int64 version', 2: 'State state', 3: 'StatusProto status' },
    StatusProto: { 1: 'Code error_code', 2: 'string error_message' },
  },
  TENSORFLOW_ENUMS,
);

/** The unary methods of a service whose messages are named after it: `Predict` → `PredictRequest`. */
function methods(service: string, prefix: string, names: readonly string[]): MethodDefinition[] {
  return names.map((name) => {
    const [method = '', message = method] = name.split('=');
    return {
      path: `/${service}/${method}`,
      request: `${prefix}.${message}Request`,
      response: `${prefix}.${message}Response`,
      streamsAnswer: false,
    };
  });
}

const INFERENCE_SERVICE = 'inference.GRPCInferenceService';

const OPEN_INFERENCE: SchemaDefinition = {
  messages: INFERENCE,
  enums: NO_ENUMS,
  methods: [
    ...methods(INFERENCE_SERVICE, 'inference', [
      ...['ServerLive', 'ServerReady', 'ModelReady', 'ServerMetadata', 'ModelMetadata', 'ModelInfer'],
      ...['RepositoryIndex', 'RepositoryModelLoad', 'RepositoryModelUnload'],
    ]),
    {
      path: `/${INFERENCE_SERVICE}/ModelStreamInfer`,
      request: 'inference.ModelInferRequest',
      response: 'inference.ModelStreamInferResponse',
      streamsAnswer: true,
    },
  ],
};

const TENSORFLOW_SERVING: SchemaDefinition = {
  messages: [...TENSORFLOW, ...SERVING],
  enums: TENSORFLOW_ENUMS,
  methods: [
    ...methods('tensorflow.serving.PredictionService', 'tensorflow.serving', [
      ...['Predict', 'Classify=Classification', 'Regress=Regression', 'MultiInference', 'GetModelMetadata'],
    ]),
    ...methods('tensorflow.serving.ModelService', 'tensorflow.serving', ['GetModelStatus']),
  ],
};

/** Calls that are known without a file. */
const KNOWN_SERVICES: readonly SchemaDefinition[] = [OPEN_INFERENCE, TENSORFLOW_SERVING];

/** Service and method. */
const METHOD = /\/[^/]+\/[^/]+$/;

/** Made when the first call is looked for. */
let knownCalls: CallSchema | null = null;

/** A call that is known without a file, by its path or a route that ends with it. */
export function knownCall(path: string): CallTypes | null {
  knownCalls ??= callSchema();
  return knownCalls.of(METHOD.exec(path)?.[0] ?? '');
}

/** The known calls and those of descriptor sets. */
export function callSchema(sets: readonly SchemaDefinition[] = []): CallSchema {
  return new CallSchema([...KNOWN_SERVICES, ...sets]);
}
