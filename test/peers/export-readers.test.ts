import { expect } from 'vitest';
import { exported, numberedCapture } from '../support/export-scene.ts';
import { checkedBy, needing, runPeer } from '../support/peer-run.ts';
import { npmPackages, pythonWith } from '../support/peer-tools.ts';

const COUNT = 200;
const readers = pythonWith(['mitmproxy==11.0.2', 'duckdb==2.0.1']);
const schemas = npmPackages(['har-validator@5.1.5', 'ajv@6.12.6']);
const capture = numberedCapture(COUNT);
needing(schemas, 'HAR passes har-schema', async (modules) => {
  const { out } = await exported('har', capture);
  const { status, said } = await checkedBy(
    modules,
    [
      "const { har } = require('har-validator/lib/promise');",
      'har(JSON.parse(fs.readFileSync(process.argv[2])).log === undefined ? null : JSON.parse(fs.readFileSync(process.argv[2])))',
      '  .catch((error) => { console.error(JSON.stringify(error.errors ?? String(error))); process.exitCode = 1; });',
    ],
    [out],
  );
  expect(status, said).toBe(0);
});

needing(readers, 'mitmproxy loads the HAR: requests, statuses and texts', async (python) => {
  const { out } = await exported('har', capture);
  const program = [
    'import json, sys',
    'from mitmproxy.io import FlowReader',
    "flows = list(FlowReader(open(sys.argv[1], 'rb')).stream())",
    'print(json.dumps([[f.request.method, f.request.path, f.request.host, f.response.status_code, f.response.get_text(strict=False), len(f.request.raw_content)] for f in flows]))',
  ].join('\n');
  const { status, said, stdout } = await runPeer(python, ['-c', program, out]);
  expect(status, said).toBe(0);
  const flows = JSON.parse(stdout) as [string, string, string, number, string, number][];
  expect(flows).toHaveLength(COUNT);
  for (const [id, [method, path, host, code, text, bytes]] of flows.entries()) {
    expect([method, path, host]).toEqual(['POST', `/v1/chat/completions?id=${id}`, 'model.internal']);
    expect(code).toBe(id % 11 === 10 ? 429 : 200);
    expect(text).toBe(`{"id":${id},"text":"</script>"}`);
    expect(bytes).toBeGreaterThan(3);
  }
});

needing(readers, 'DuckDB reads the Parquet with equal counts and sums', async (python) => {
  const { out, document } = await exported('parquet', capture, '--include-bodies', '--multiplier', '2');
  const program = [
    'import duckdb, json, sys',
    'q = "SELECT count(*), sum(input_tokens), sum(output_tokens), count(*) FILTER (status = 429), round(sum(latency_ms) * 1000), sum(octet_length(request_body)), sum(req_bytes), max(offset_ms), epoch_us(min(ts_us)), count(DISTINCT id), count(DISTINCT body_hash), min(typeof(ts_us)) FROM \'%s\'" % sys.argv[1]',
    'print(json.dumps(duckdb.sql(q).fetchall()[0], default=float))',
  ].join('\n');
  const { status, said, stdout } = await runPeer(python, ['-c', program, out]);
  expect(status, said).toBe(0);
  const [count, input, output, refused, latencyUs, kept, bytes, last, first, ids, hashes, type] = JSON.parse(
    stdout,
  ) as (number | string)[];
  const sum = (COUNT * (COUNT - 1)) / 2;
  expect([count, ids, hashes]).toEqual([COUNT, COUNT, COUNT]);
  expect([input, output, latencyUs]).toEqual([sum, 2 * sum, COUNT * 20_000 + sum]);
  expect(refused).toBe(Math.floor((COUNT - 10 - 1) / 11) + 1);
  expect(kept).toBe(bytes);
  expect(last).toBeCloseTo(((COUNT - 1) * 10 + ((COUNT - 1) % 3) * 0.777) / 2, 3);
  expect(first).toBe(1_795_532_400_000_000);
  expect(type).toBe('TIMESTAMP WITH TIME ZONE');
  expect(document.exported).toBe(COUNT);
});

needing(readers, 'Python reads the CSV', async (python) => {
  const { out } = await exported('csv', capture);
  const program = [
    'import csv, json, sys',
    "rows = list(csv.DictReader(open(sys.argv[1], newline='', encoding='utf-8')))",
    "print(json.dumps([len(rows), sum(int(r['input_tokens']) for r in rows), rows[0]['model'][:5], len(set(map(len, rows)))]))",
  ].join('\n');
  const { status, said, stdout } = await runPeer(python, ['-c', program, out]);
  expect(status, said).toBe(0);
  expect(JSON.parse(stdout)).toEqual([COUNT, (COUNT * (COUNT - 1)) / 2, "'=cmd", 1]);
});
