import { join } from 'node:path';
import { expect } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import type { Tool } from '../support/peer-tools.ts';
import { fixtureData, missing, sharedData } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

export interface PublicTrace {
  readonly name: string;
  /** Null if the trace is missing. */
  readonly path: string | null;
  readonly format: string;
  readonly flags: readonly string[];
  readonly exchanges: number;
}

/** Public traces with less than a million exchanges: how to import each, and its number of exchanges. */
export const PUBLIC_TRACES: readonly PublicTrace[] = [
  {
    name: 'azure-llm-2023-conv',
    path: fixtureData('azure-llm-2023-conv/AzureLLMInferenceTrace_conv.csv.gz'),
    format: 'arrivals',
    flags: [
      ...['--time', 'TIMESTAMP', '--request-path', '/v1/chat/completions'],
      ...['--payloads', fixtureData('arena-hard-prompts/chat_completions.jsonl.gz')],
    ],
    exchanges: 19_366,
  },
  trace('mooncake-synthetic/synthetic_trace.jsonl.gz', 'mooncake', 3_993),
  trace('inference-perf-samples/trace.csv', 'arrivals', 20, ['--time', 'TIMESTAMP']),
  trace('mitmproxy-har/flows/successful_log.har', 'har', 2),
];

function trace(file: string, format: string, exchanges: number, flags: readonly string[] = []): PublicTrace {
  return { name: file.split('/')[0]!, path: sharedData(file), format, flags, exchanges };
}

/** The tool; if the trace is missing, this as the reason. */
export function present({ name, path }: PublicTrace, tool: Tool): Tool {
  return path === null ? { missing: missing(name) } : tool;
}

/** Imports a trace. @returns its capture */
export async function captureOfTrace({ path, format, flags }: PublicTrace): Promise<string> {
  const capture = join(temporaryDirectory(), 'trace');
  const done = await runCommand(['import', format, path ?? '', ...flags, '--out', capture]);
  expect(done, done.stderr).toMatchObject({ status: 0 });
  return capture;
}
