import type { SeriesFacts } from '../documents/monitors.ts';

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

const gauges = (server: Server, metrics: Readonly<Record<string, Facts>>): Preset[] =>
  listOf(server, 'gauge', metrics);
const counters = (server: Server, metrics: Readonly<Record<string, Facts>>): Preset[] =>
  listOf(server, 'counter', metrics);
/** Means: a sum divided by a count, by the names of both. */
const means = (
  server: Server,
  rows: readonly (readonly [
    sum: string,
    count: string,
    name: string,
    unit: Preset['unit'],
    divisor?: number | undefined,
  ])[],
): Preset[] =>
  rows.map(([metric, per, name, unit, divisor = 1]) => ({
    server,
    metric,
    per,
    name,
    unit,
    divisor,
    kind: 'mean',
    over: 'sum',
  }));
const histograms = (
  server: Server,
  metrics: Readonly<Record<string, readonly [string, Preset['unit'], number?]>>,
) =>
  means(
    server,
    Object.entries(metrics).map(([metric, [name, unit, divisor]]) => [
      `${metric}_sum`,
      `${metric}_count`,
      name,
      unit,
      divisor,
    ]),
  );

function listOf(
  server: Server,
  kind: 'gauge' | 'counter',
  metrics: Readonly<Record<string, Facts>>,
): Preset[] {
  return Object.entries(metrics).map(([metric, [name, unit, over = 'sum', more = {}]]) => ({
    server,
    kind,
    metric,
    name,
    unit,
    over,
    ...more,
  }));
}

const MICRO = 1e6;
const MIB = 1 / 1_048_576;
const PERCENT = { divisor: 100 };

/**
 * Series of model servers and exporters that show how near a target is to its limit. Names are from their sources and
 * documentation. Older and newer names of a series are both listed.
 */
export const PRESETS: readonly Preset[] = [
  ...gauges('triton', {
    nv_gpu_utilization: ['gpu_utilization', 'share', 'max'],
    nv_gpu_memory_used_bytes: ['gpu_memory', 'bytes', 'max'],
    nv_gpu_power_usage: ['gpu_power', 'W'],
    nv_cpu_utilization: ['cpu_utilization', 'share', 'max'],
    nv_inference_pending_request_count: ['queue_length', 'count'],
  }),
  ...counters('triton', {
    nv_inference_request_success: ['requests', 'count'],
    nv_inference_request_failure: ['failures', 'count'],
    nv_cache_num_hits_per_model: ['cache_hits', 'count'],
    nv_cache_num_misses_per_model: ['cache_misses', 'count'],
  }),
  ...means('triton', [
    ['nv_inference_queue_duration_us', 'nv_inference_request_success', 'queue_time', 's', MICRO],
    ['nv_inference_compute_infer_duration_us', 'nv_inference_request_success', 'compute_time', 's', MICRO],
    ['nv_inference_request_duration_us', 'nv_inference_request_success', 'server_latency', 's', MICRO],
    ['nv_inference_count', 'nv_inference_exec_count', 'batch_size', 'count'],
  ]),
  ...histograms('triton', { nv_inference_first_response_histogram_ms: ['server_ttft', 's', 1e3] }),
  ...gauges('vllm', {
    'vllm:num_requests_running': ['running', 'count'],
    'vllm:num_requests_waiting': ['queue_length', 'count'],
    'vllm:kv_cache_usage_perc': ['kv_cache_utilization', 'share', 'max'],
    'vllm:gpu_cache_usage_perc': ['kv_cache_utilization', 'share', 'max'],
  }),
  ...counters('vllm', {
    'vllm:num_preemptions': ['preemptions', 'count'],
    'vllm:prompt_tokens': ['prompt_tokens', 'count'],
    'vllm:generation_tokens': ['output_tokens', 'count'],
    'vllm:request_success': ['requests', 'count'],
  }),
  ...means('vllm', [
    ['vllm:prefix_cache_hits', 'vllm:prefix_cache_queries', 'prefix_cache_hit_rate', 'share'],
    [
      'vllm:external_prefix_cache_hits',
      'vllm:external_prefix_cache_queries',
      'external_cache_hit_rate',
      'share',
    ],
  ]),
  ...histograms('vllm', {
    'vllm:request_queue_time_seconds': ['queue_time', 's'],
    'vllm:time_to_first_token_seconds': ['server_ttft', 's'],
    'vllm:inter_token_latency_seconds': ['server_itl', 's'],
    'vllm:time_per_output_token_seconds': ['server_itl', 's'],
    'vllm:e2e_request_latency_seconds': ['server_latency', 's'],
  }),
  ...gauges('sglang', {
    'sglang:num_running_reqs': ['running', 'count'],
    'sglang:num_queue_reqs': ['queue_length', 'count'],
    'sglang:token_usage': ['kv_cache_utilization', 'share', 'max'],
    'sglang:cache_hit_rate': ['prefix_cache_hit_rate', 'share', 'max'],
    'sglang:gen_throughput': ['output_tokens_per_second', 'count'],
  }),
  ...counters('sglang', {
    'sglang:prompt_tokens': ['prompt_tokens', 'count'],
    'sglang:generation_tokens': ['output_tokens', 'count'],
    'sglang:num_requests': ['requests', 'count'],
  }),
  ...histograms('sglang', {
    'sglang:time_to_first_token_seconds': ['server_ttft', 's'],
    'sglang:inter_token_latency_seconds': ['server_itl', 's'],
    'sglang:e2e_request_latency_seconds': ['server_latency', 's'],
    'sglang:queue_time_seconds': ['queue_time', 's'],
  }),
  ...gauges('tensorrt-llm', {
    trtllm_num_requests_running: ['running', 'count'],
    trtllm_num_requests_waiting: ['queue_length', 'count'],
    trtllm_kv_cache_utilization: ['kv_cache_utilization', 'share', 'max'],
  }),
  ...histograms('tensorrt-llm', {
    trtllm_request_queue_time_seconds: ['queue_time', 's'],
    trtllm_time_to_first_token_seconds: ['server_ttft', 's'],
    trtllm_e2e_request_latency_seconds: ['server_latency', 's'],
  }),
  ...counters('torchserve', { ts_inference_requests: ['requests', 'count'] }),
  ...means('torchserve', [
    ['ts_queue_latency_microseconds', 'ts_inference_requests', 'queue_time', 's', MICRO],
    ['ts_inference_latency_microseconds', 'ts_inference_requests', 'server_latency', 's', MICRO],
  ]),
  ...counters('tf-serving', { ':tensorflow:serving:request_count': ['requests', 'count'] }),
  ...histograms('tf-serving', { ':tensorflow:serving:request_latency': ['server_latency', 's', MICRO] }),
  ...histograms('kserve', {
    request_preprocess_seconds: ['preprocess_time', 's'],
    request_predict_seconds: ['compute_time', 's'],
    request_postprocess_seconds: ['postprocess_time', 's'],
  }),
  ...counters('mlserver', {
    model_infer_request_success: ['requests', 'count'],
    model_infer_request_failure: ['failures', 'count'],
  }),
  ...histograms('mlserver', {
    batch_request_queue: ['batch_queue_length', 'count'],
    parallel_request_queue: ['worker_queue_length', 'count'],
  }),
  ...gauges('dynamo', {
    dynamo_frontend_inflight_requests: ['running', 'count'],
    dynamo_frontend_queued_requests: ['queue_length', 'count'],
  }),
  ...gauges('gateway', {
    inference_pool_ready_pods: ['replicas_ready', 'count', 'each'],
    inference_pool_average_queue_size: ['queue_length', 'count', 'each'],
    inference_pool_average_kv_cache_utilization: ['kv_cache_utilization', 'share', 'each'],
  }),
  ...gauges('knative', {
    kn_revision_pods_desired: ['replicas_desired', 'count', 'each'],
    kn_revision_pods_count: ['replicas_ready', 'count', 'each'],
    autoscaler_desired_pods: ['replicas_desired', 'count', 'each'],
    autoscaler_actual_pods: ['replicas_ready', 'count', 'each'],
    kn_serving_queue_depth: ['queue_length', 'count', 'each'],
  }),
  ...gauges('dcgm', {
    DCGM_FI_DEV_GPU_UTIL: ['gpu_utilization', 'share', 'max', PERCENT],
    DCGM_FI_PROF_GR_ENGINE_ACTIVE: ['gpu_engine_active', 'share', 'max'],
    DCGM_FI_PROF_DRAM_ACTIVE: ['gpu_memory_active', 'share', 'max'],
    DCGM_FI_DEV_FB_USED: ['gpu_memory', 'bytes', 'max', { divisor: MIB }],
    DCGM_FI_DEV_POWER_USAGE: ['gpu_power', 'W'],
  }),
  // The root group and the pause container are left out: their containers would be counted twice.
  ...counters('cadvisor', {
    container_cpu_usage_seconds: ['cpu', 's', 'sum', { without: { container: ['', 'POD'] } }],
  }),
  ...gauges('cadvisor', {
    container_memory_working_set_bytes: ['memory', 'bytes', 'sum', { without: { container: ['', 'POD'] } }],
  }),
  ...means('cadvisor', [
    ['container_cpu_cfs_throttled_periods', 'container_cpu_cfs_periods', 'cpu_throttled', 'share'],
  ]),
  ...gauges('kube-state-metrics', {
    kube_deployment_spec_replicas: ['replicas_desired', 'count', 'each'],
    kube_deployment_status_replicas_ready: ['replicas_ready', 'count', 'each'],
    kube_horizontalpodautoscaler_status_desired_replicas: ['replicas_desired', 'count', 'each'],
    kube_horizontalpodautoscaler_status_current_replicas: ['replicas', 'count', 'each'],
    kube_horizontalpodautoscaler_spec_max_replicas: ['replicas_max', 'count', 'each'],
  }),
  ...counters('kube-state-metrics', {
    kube_pod_container_status_restarts: ['restarts', 'count'],
  }),
  ...counters('node-exporter', {
    node_cpu_seconds: [
      'host_cpu',
      's',
      'sum',
      { without: { mode: ['idle', 'iowait', 'guest', 'guest_nice'] } },
    ],
    node_network_receive_bytes: ['host_received', 'bytes', 'sum', { without: { device: ['lo'] } }],
    node_network_transmit_bytes: ['host_sent', 'bytes', 'sum', { without: { device: ['lo'] } }],
  }),
  ...gauges('node-exporter', { node_memory_MemAvailable_bytes: ['host_memory_available', 'bytes'] }),
  ...counters('process', { process_cpu_seconds: ['cpu', 's'] }),
  ...gauges('process', {
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
