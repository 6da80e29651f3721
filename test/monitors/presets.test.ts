import { describe, expect, test } from 'vitest';
import { isOwnMetric } from '../../src/documents/metrics/metrics.ts';
import { parseExposition, readingsFor } from '../../src/monitors/metrics-scrape.ts';
import { MONITORED_NAMES, PRESETS } from '../../src/monitors/presets.ts';
import { parseMonitorQuery } from '../../src/monitors/query.ts';

/** What is read of a scrape, by name: value, and the count of a mean. */
function read(text: string, queries: readonly string[] = []) {
  const { wanted, readings } = readingsFor(queries.map((each) => parseMonitorQuery(each, 'query')));
  const found = readings(parseExposition(text, wanted).samples);
  return found.map(({ name, value, base, labels, unit }) => ({
    name,
    value,
    ...(base === null ? {} : { base }),
    ...(Object.keys(labels).length === 0 ? {} : { labels }),
    unit,
  }));
}

describe('presets', () => {
  test('read Triton: the busiest GPU, the sum of queues, and means of counters in seconds', () => {
    const text = `
nv_gpu_utilization{gpu_uuid="a"} 0.4
nv_gpu_utilization{gpu_uuid="b"} 0.9
nv_inference_pending_request_count{model="m"} 3
nv_inference_pending_request_count{model="n"} 4
nv_inference_queue_duration_us{model="m"} 2000000
nv_inference_request_success{model="m"} 10
`;
    expect(read(text)).toEqual([
      { name: 'gpu_utilization', value: 0.9, unit: 'share' },
      { name: 'queue_length', value: 7, unit: 'count' },
      { name: 'requests', value: 10, unit: 'count' },
      { name: 'queue_time', value: 2, base: 10, unit: 's' },
    ]);
  });

  test('read vLLM with and without _total, and one of two names of a figure', () => {
    const of = (suffix: string) =>
      `vllm:num_preemptions${suffix}{model_name="m"} 5\nvllm:prompt_tokens${suffix} 7\n`;
    const each = [
      { name: 'preemptions', value: 5, unit: 'count' },
      { name: 'prompt_tokens', value: 7, unit: 'count' },
    ];
    expect(read(of(''))).toEqual(each);
    expect(read(of('_total'))).toEqual(each);
    expect(read('vllm:kv_cache_usage_perc 0.5\nvllm:gpu_cache_usage_perc 0.5\n')).toHaveLength(1);
  });

  test('read the share of prompts from a cache by counters, and of SGLang by its gauge only without them', () => {
    const counters =
      'sglang:cached_tokens_total{cache_source="device"} 30\nsglang:cached_tokens_total{cache_source="host"} 10\n';
    const gauge = 'sglang:cache_hit_rate 0.9\n';
    const prompts = 'sglang:prompt_tokens_total 50\n';
    const [own] = read(`${gauge}${prompts}${counters}`);
    expect(own).toEqual({ name: 'prefix_cache_hit_rate', value: 40, base: 50, unit: 'share' });
    expect(read(gauge)).toEqual([{ name: 'prefix_cache_hit_rate', value: 0.9, unit: 'share' }]);
  });

  test('read histograms by sum and count, and counters that nobody may mistake', () => {
    const text = `
sglang:time_to_first_token_seconds_bucket{le="1"} 3
sglang:time_to_first_token_seconds_sum 6
sglang:time_to_first_token_seconds_count 3
node_cpu_seconds_total{cpu="0",mode="idle"} 900
node_cpu_seconds_total{cpu="0",mode="user"} 20
node_cpu_seconds_total{cpu="1",mode="system"} 5
process_cpu_seconds_total 3
container_cpu_usage_seconds_total{container=""} 50
container_cpu_usage_seconds_total{container="server"} 40
`;
    // The CPU time of the exporter's own process is left out.
    expect(read(text)).toEqual([
      { name: 'server_ttft', value: 6, base: 3, unit: 's' },
      { name: 'cpu', value: 40, unit: 's' },
      { name: 'host_cpu', value: 25, unit: 's' },
    ]);
  });

  test('sum counters label by label: one that goes takes nothing away, and one that began anew counts from 0', () => {
    const { wanted, readings } = readingsFor([]);
    const sums = (text: string) =>
      readings(parseExposition(text, wanted).samples).map(({ value, base }) => [value, base]);
    const of = (model: string, served: number) =>
      `nv_inference_request_success{model="${model}"} ${served}\nnv_inference_queue_duration_us{model="${model}"} ${served * 1e6}\n`;
    const looks = [
      of('a', 100) + of('b', 1_000),
      // Unloaded, and loaded again.
      of('a', 110),
      of('a', 120) + of('b', 1_005),
      // Loaded anew, and a new one.
      of('a', 120) + of('b', 3) + of('c', 4),
      // The server began anew.
      of('a', 2),
    ];
    expect(looks.map(sums)).toEqual(
      [1_100, 1_110, 1_125, 7, 2].map((served) => [
        [served, null],
        [served, served],
      ]),
    );
  });

  test('keep replicas of each deployment apart, and turn percent and MiB into base units', () => {
    const text = `
kube_deployment_status_replicas_ready{deployment="a"} 2
kube_deployment_status_replicas_ready{deployment="b"} 5
DCGM_FI_DEV_GPU_UTIL{gpu="0"} 95
DCGM_FI_DEV_FB_USED{gpu="0"} 1024
`;
    expect(read(text)).toEqual([
      { name: 'gpu_utilization', value: 0.95, unit: 'share' },
      { name: 'gpu_memory', value: 2 ** 30, unit: 'bytes' },
      { name: 'replicas_ready', value: 2, labels: { deployment: 'a' }, unit: 'count' },
      { name: 'replicas_ready', value: 5, labels: { deployment: 'b' }, unit: 'count' },
    ]);
  });

  test('read what the user names, by selector', () => {
    const text = 'depth{queue="a"} 3\ndepth{queue="b"} 4\nserved_total 9\n';
    expect(read(text, ['queue_length=depth{queue="b"}', 'served=served_total'])).toEqual([
      { name: 'queue_length', value: 4, labels: { queue: 'b' }, unit: 'count' },
      { name: 'served', value: 9, unit: 'count' },
    ]);
  });

  test('have names that objectives do not use for something else, each with one unit', () => {
    expect([...MONITORED_NAMES].filter(isOwnMetric)).toEqual([]);
    const units = Map.groupBy(PRESETS, ({ name }) => name);
    const mixed = [...units].filter(([, each]) => new Set(each.map(({ unit }) => unit)).size > 1);
    expect(mixed.map(([name]) => name)).toEqual([]);
  });
});
