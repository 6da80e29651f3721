import { describe, expect, test } from 'vitest';
import { withoutAddresses } from '../../../src/analysis/publication/build-publication.ts';

describe('a document without addresses', () => {
  test.each([
    ['http://staging:8000/v1?key=abc', 'http://target/v1?key=***'],
    ['https://user:pa55@staging:8000/', 'https://target/'],
    ['connect to staging:8000 failed', 'connect to target failed'],
    ['10.1.2.3:9090 and 10.1.2.3 and 10.1.2.4', 'host-1 and host-1 and host-2'],
    [
      'http://gpu-7.internal:9400/metrics, then gpu-7.internal said no',
      'http://host-1/metrics, then host-1 said no',
    ],
    ['pid:4711', 'process-1'],
    ['read from /home/me/captures/monday/x', 'read from monday/x'],
    ['vllm:num_requests_running', 'vllm:num_requests_running'],
    ['version 0.1.0 at 12:30:05', 'version 0.1.0 at 12:30:05'],
    ['staging_not_representative', 'staging_not_representative'],
    ['connect ECONNREFUSED fd00:10::5:9400', 'connect ECONNREFUSED host-1'],
    ['[fe80::1]:80 and 1:2:3:4:5:6:7:8', '[host-1]:80 and host-2'],
    ['std::vector, a ratio 1:2:3, 2026-11-24T12:30:05Z', 'std::vector, a ratio 1:2:3, 2026-11-24T12:30:05Z'],
    ['the relay at relay:8474', 'the relay at host-1'],
    ['gpu-7:9400 is slow, gpu-7 too', 'host-1 is slow, host-1 too'],
    [
      'sum(rate(busy{instance=~"gpu-.*", job="a", node=\'n7\'}[1m]))',
      'sum(rate(busy{instance=~"host-1", job="a", node=\'host-2\'}[1m]))',
    ],
    ['latency{model=llama3:8b}: p(95)<200', 'latency{model=llama3:8b}: p(95)<200'],
  ])('shows %j as %j', (text, expected) => {
    expect(withoutAddresses({ text }, 'http://staging:8000', ['/home/me/captures/monday'])).toEqual({
      text: expected,
    });
  });

  test('knows fields that hold an address, and keeps equal ones equal', () => {
    const document = {
      connections: { byAddress: [{ address: '::1' }, { address: 'node-3' }] },
      labels: { instance: 'node-3:9100', Hostname: 'node-3', gpu: '0' },
      more: { nodename: 'node-3', machine: 'node-3', ip: '10.0.0.9', host_name: 'node-3' },
      faults: { control: 'node-3:8474' },
      options: { host: 'target', productionHosts: ['prod', 'vllm'] },
      statuses: { 200: 4 },
    };
    expect(withoutAddresses(document, 'http://vllm:8000', [])).toEqual({
      connections: { byAddress: [{ address: 'host-1' }, { address: 'host-2' }] },
      labels: { instance: 'host-2', Hostname: 'host-2', gpu: '0' },
      more: { nodename: 'host-2', machine: 'host-2', ip: 'host-3', host_name: 'host-2' },
      faults: { control: 'host-2' },
      options: { host: 'target', productionHosts: ['host-4', 'target'] },
      statuses: { 200: 4 },
    });
  });

  test.each([
    ['getaddrinfo ENOTFOUND gpu', 'getaddrinfo ENOTFOUND host-1'],
    ['no answer of prometheus within 500 ms', 'no answer of host-2 within 500 ms'],
    [
      "Host: gpu. is not in the cert's altnames: DNS:*.lab.example, DNS:lab",
      "Host: host-1. is not in the cert's altnames: DNS:host-3, DNS:host-4",
    ],
  ])('shows the error %j as %j', (lastError, expected) => {
    const document = {
      first: { lastError: 'getaddrinfo EAI_AGAIN gpu' },
      url: 'http://prometheus:9090',
      lastError,
    };
    expect(withoutAddresses(document, null, []).lastError).toBe(expected);
  });
});
