import { PREFIX_HITS, type SeriesFacts } from '../documents/monitors.ts';

/** The meaning of a metric name of a server. */
export interface Preset extends Pick<SeriesFacts, 'name' | 'kind' | 'unit'> {
  readonly server: Server;
  /** Name with or without `_total`. For a mean, the name of the sum. */
  readonly metric: string;
  /** For a mean, the name of the count. A histogram has `_sum` and `_count`. */
  readonly per?: string;
  /** How series of a source that differ by labels are combined; `each` keeps them separate. */
  readonly over: 'sum' | 'max' | 'each';
  /** Divisor to get base units. A factor instead would turn 95 % into 0.9500000000000001. */
  readonly divisor?: number;
  /** Series with one of these labels are left out. */
  readonly without?: Readonly<Record<string, readonly string[]>>;
}

type Server =
  | ('triton' | 'vllm' | 'sglang' | 'tensorrt-llm' | 'torchserve' | 'tf-serving' | 'kserve' | 'mlserver')
  | ('dynamo' | 'gateway' | 'knative' | 'dcgm' | 'cadvisor' | 'kube-state-metrics' | 'node-exporter')
  | 'process';

/** Exporters: their own CPU and memory are not those of the servers that they report on. */
export const EXPORTERS: ReadonlySet<Server> = new Set([
  'dcgm',
  'cadvisor',
  'kube-state-metrics',
  'node-exporter',
  'gateway',
]);

type Facts = readonly [name: string, unit: Preset['unit'], over?: Preset['over'], more?: Partial<Preset>];

/** Series of one kind by their metrics. A mean is named by its histogram, or by its sum and its count. */
function presets(
  server: Server,
  kind: Preset['kind'],
  metrics: Readonly<Record<string, Facts>>,
): readonly Preset[] {
  return Object.entries(metrics).map(([names, [name, unit, over = 'sum', more]]) => {
    const [metric = names, per] = kind === 'mean' ? sumAndCount(names) : [names];
    return { server, kind, metric, ...(per !== undefined && { per }), name, unit, over, ...more };
  });
}

function sumAndCount(names: string): readonly string[] {
  return names.includes(' / ') ? names.split(' / ') : [`${names}_sum`, `${names}_count`];
}

const MICRO = { divisor: 1e6 };
const MILLI = { divisor: 1e3 };
const MIB = { divisor: 1 / 1_048_576 };
const PERCENT = { divisor: 100 };
/** The root group and the pause container: their containers would be counted twice. */
const NO_GROUPS = { without: { container: ['', 'POD'] } };

/**
 * Series of model servers and exporters that show how near a target is to its limit. Names are from their sources and
 * documentation. Older and newer names of a series are both listed.
 */
export const PRESETS: readonly Preset[] = [
  ...presets('triton', 'gauge', {
    nv_gpu_utilization: ['gpu_utilization', 'share', 'max'],
    nv_gpu_memory_used_bytes: ['gpu_memory', 'bytes', 'max'],
    nv_gpu_power_usage: ['gpu_power', 'W'],
    nv_cpu_utilization: ['cpu_utilization', 'share', 'max'],
    nv_inference_pending_request_count: ['queue_length', 'count'],
  }),
  ...presets('triton', 'counter', {
    nv_inference_request_success: ['requests', 'count'],
    nv_inference_request_failure: ['failures', 'count'],
    nv_cache_num_hits_per_model: ['cache_hits', 'count'],
    nv_cache_num_misses_per_model: ['cache_misses', 'count'],
  }),
  ...presets('triton', 'mean', {
    'nv_inference_queue_duration_us / nv_inference_request_success': ['queue_time', 's', 'sum', MICRO],
    'nv_inference_compute_infer_duration_us / nv_inference_request_success': [
      'compute_time',
      's',
      'sum',
      MICRO,
    ],
    'nv_inference_request_duration_us / nv_inference_request_success': ['server_latency', 's', 'sum', MICRO],
    'nv_inference_count / nv_inference_exec_count': ['batch_size', 'count'],
  }),
  ...presets('triton', 'mean', {
    nv_inference_first_response_histogram_ms: ['server_ttft', 's', 'sum', MILLI],
  }),
  ...presets('vllm', 'gauge', {
    'vllm:num_requests_running': ['running', 'count'],
    'vllm:num_requests_waiting': ['queue_length', 'count'],
    'vllm:kv_cache_usage_perc': ['kv_cache_utilization', 'share', 'max'],
    'vllm:gpu_cache_usage_perc': ['kv_cache_utilization', 'share', 'max'],
  }),
  ...presets('vllm', 'counter', {
    'vllm:num_preemptions': ['preemptions', 'count'],
    'vllm:prompt_tokens': ['prompt_tokens', 'count'],
    'vllm:generation_tokens': ['output_tokens', 'count'],
    'vllm:request_success': ['requests', 'count'],
  }),
  ...presets('vllm', 'mean', {
    'vllm:prefix_cache_hits / vllm:prefix_cache_queries': [PREFIX_HITS, 'share'],
    'vllm:external_prefix_cache_hits / vllm:external_prefix_cache_queries': [
      'external_cache_hit_rate',
      'share',
    ],
  }),
  ...presets('vllm', 'mean', {
    'vllm:request_queue_time_seconds': ['queue_time', 's'],
    'vllm:time_to_first_token_seconds': ['server_ttft', 's'],
    'vllm:inter_token_latency_seconds': ['server_itl', 's'],
    'vllm:time_per_output_token_seconds': ['server_itl', 's'],
    'vllm:e2e_request_latency_seconds': ['server_latency', 's'],
  }),
  // Before the gauge of the same name, which is that of the last batch.
  ...presets('sglang', 'mean', { 'sglang:cached_tokens / sglang:prompt_tokens': [PREFIX_HITS, 'share'] }),
  ...presets('sglang', 'gauge', {
    'sglang:num_running_reqs': ['running', 'count'],
    'sglang:num_queue_reqs': ['queue_length', 'count'],
    'sglang:token_usage': ['kv_cache_utilization', 'share', 'max'],
    'sglang:cache_hit_rate': [PREFIX_HITS, 'share', 'max'],
    'sglang:gen_throughput': ['output_tokens_per_second', 'count'],
  }),
  ...presets('sglang', 'counter', {
    'sglang:prompt_tokens': ['prompt_tokens', 'count'],
    'sglang:generation_tokens': ['output_tokens', 'count'],
    'sglang:num_requests': ['requests', 'count'],
  }),
  ...presets('sglang', 'mean', {
    'sglang:time_to_first_token_seconds': ['server_ttft', 's'],
    'sglang:inter_token_latency_seconds': ['server_itl', 's'],
    'sglang:e2e_request_latency_seconds': ['server_latency', 's'],
    'sglang:queue_time_seconds': ['queue_time', 's'],
  }),
  ...presets('tensorrt-llm', 'gauge', {
    trtllm_num_requests_running: ['running', 'count'],
    trtllm_num_requests_waiting: ['queue_length', 'count'],
    trtllm_kv_cache_utilization: ['kv_cache_utilization', 'share', 'max'],
  }),
  ...presets('tensorrt-llm', 'mean', {
    trtllm_request_queue_time_seconds: ['queue_time', 's'],
    trtllm_time_to_first_token_seconds: ['server_ttft', 's'],
    trtllm_e2e_request_latency_seconds: ['server_latency', 's'],
  }),
  ...presets('torchserve', 'counter', { ts_inference_requests: ['requests', 'count'] }),
  ...presets('torchserve', 'mean', {
    'ts_queue_latency_microseconds / ts_inference_requests': ['queue_time', 's', 'sum', MICRO],
    'ts_inference_latency_microseconds / ts_inference_requests': ['server_latency', 's', 'sum', MICRO],
  }),
  ...presets('tf-serving', 'counter', { ':tensorflow:serving:request_count': ['requests', 'count'] }),
  ...presets('tf-serving', 'mean', {
    ':tensorflow:serving:request_latency': ['server_latency', 's', 'sum', MICRO],
  }),
  ...presets('kserve', 'mean', {
    request_preprocess_seconds: ['preprocess_time', 's'],
    request_predict_seconds: ['compute_time', 's'],
    request_postprocess_seconds: ['postprocess_time', 's'],
  }),
  ...presets('mlserver', 'counter', {
    model_infer_request_success: ['requests', 'count'],
    model_infer_request_failure: ['failures', 'count'],
  }),
  ...presets('mlserver', 'mean', {
    batch_request_queue: ['batch_queue_length', 'count'],
    parallel_request_queue: ['worker_queue_length', 'count'],
  }),
  ...presets('dynamo', 'gauge', {
    dynamo_frontend_inflight_requests: ['running', 'count'],
    dynamo_frontend_queued_requests: ['queue_length', 'count'],
  }),
  ...presets('gateway', 'gauge', {
    inference_pool_ready_pods: ['replicas_ready', 'count', 'each'],
    inference_pool_average_queue_size: ['queue_length', 'count', 'each'],
    inference_pool_average_kv_cache_utilization: ['kv_cache_utilization', 'share', 'each'],
  }),
  ...presets('knative', 'gauge', {
    kn_revision_pods_desired: ['replicas_desired', 'count', 'each'],
    kn_revision_pods_count: ['replicas_ready', 'count', 'each'],
    autoscaler_desired_pods: ['replicas_desired', 'count', 'each'],
    autoscaler_actual_pods: ['replicas_ready', 'count', 'each'],
    kn_serving_queue_depth: ['queue_length', 'count', 'each'],
  }),
  ...presets('dcgm', 'gauge', {
    DCGM_FI_DEV_GPU_UTIL: ['gpu_utilization', 'share', 'max', PERCENT],
    DCGM_FI_PROF_GR_ENGINE_ACTIVE: ['gpu_engine_active', 'share', 'max'],
    DCGM_FI_PROF_DRAM_ACTIVE: ['gpu_memory_active', 'share', 'max'],
    DCGM_FI_DEV_FB_USED: ['gpu_memory', 'bytes', 'max', MIB],
    DCGM_FI_DEV_POWER_USAGE: ['gpu_power', 'W'],
  }),
  ...presets('cadvisor', 'counter', {
    container_cpu_usage_seconds: ['cpu', 's', 'sum', NO_GROUPS],
  }),
  ...presets('cadvisor', 'gauge', {
    container_memory_working_set_bytes: ['memory', 'bytes', 'sum', NO_GROUPS],
  }),
  ...presets('cadvisor', 'mean', {
    'container_cpu_cfs_throttled_periods / container_cpu_cfs_periods': ['cpu_throttled', 'share'],
  }),
  ...presets('kube-state-metrics', 'gauge', {
    kube_deployment_spec_replicas: ['replicas_desired', 'count', 'each'],
    kube_deployment_status_replicas_ready: ['replicas_ready', 'count', 'each'],
    kube_horizontalpodautoscaler_status_desired_replicas: ['replicas_desired', 'count', 'each'],
    kube_horizontalpodautoscaler_status_current_replicas: ['replicas', 'count', 'each'],
    kube_horizontalpodautoscaler_spec_max_replicas: ['replicas_max', 'count', 'each'],
  }),
  ...presets('kube-state-metrics', 'counter', {
    kube_pod_container_status_restarts: ['restarts', 'count'],
  }),
  ...presets('node-exporter', 'counter', {
    node_cpu_seconds: [
      'host_cpu',
      's',
      'sum',
      { without: { mode: ['idle', 'iowait', 'guest', 'guest_nice'] } },
    ],
    node_network_receive_bytes: ['host_received', 'bytes', 'sum', { without: { device: ['lo'] } }],
    node_network_transmit_bytes: ['host_sent', 'bytes', 'sum', { without: { device: ['lo'] } }],
  }),
  ...presets('node-exporter', 'gauge', {
    node_memory_MemAvailable_bytes: ['host_memory_available', 'bytes'],
  }),
  ...presets('process', 'counter', { process_cpu_seconds: ['cpu', 's'] }),
  ...presets('process', 'gauge', {
    process_resident_memory_bytes: ['memory', 'bytes'],
    process_open_fds: ['open_files', 'count'],
  }),
];

/** Series of a process tree. */
const PROCESS_NAMES = ['cpu', 'memory', 'memory_pss', 'threads', 'open_files'] as const;

/** Names that objectives can use. */
export const MONITORED_NAMES: ReadonlySet<string> = new Set([
  ...PRESETS.map(({ name }) => name),
  ...PROCESS_NAMES,
]);

/** A name without `_total`: some servers and readers strip it, others do not. */
export function bareName(name: string): string {
  return name.endsWith('_total') ? name.slice(0, -'_total'.length) : name;
}
