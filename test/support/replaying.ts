import { join } from 'node:path';
import { expect } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { type ReplayDocument, replaySchema } from '../../src/documents/replay.ts';
import { runCommand } from './command-here.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from './exchanges.ts';
import { afterwards } from './leftovers.ts';
import { type Finished, type ProcessOptions, runReprise } from './process.ts';
import { RequestLogServer } from './request-log-server.ts';
import { temporaryDirectory } from './temp-dir.ts';

/** A server that is closed when the test ends. */
export async function serverOf(
  ...args: ConstructorParameters<typeof RequestLogServer>
): Promise<RequestLogServer> {
  const server = new RequestLogServer(...args);
  afterwards(() => server.close());
  return await server.listen();
}

/** Requests with equal gaps, each with its number in the path. */
export function requestsOf(count: number, gapUs = 1_000, parts: Partial<Exchange> = {}): Exchange[] {
  return Array.from({ length: count }, (_, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * gapUs,
      request: requestMessage({ target: `/v2/models/m/infer?n=${at}` }),
      ...parts,
    }),
  );
}

export interface Replayed extends Finished {
  readonly out: string;
}

/** Runs `reprise replay` to its end, with the run in a new directory. */
export async function replay(
  capture: string,
  target: string,
  args: readonly string[] = [],
  options: ProcessOptions = {},
): Promise<Replayed> {
  const out = join(temporaryDirectory(), 'run');
  const finished = await runReprise(['replay', capture, '--target', target, '--out', out, ...args], options);
  return { ...finished, out };
}

/** Like `replay`, but in this process: signals are those of the test. Log output is missing. */
export async function replayHere(
  capture: string,
  target: string,
  args: readonly string[] = [],
  options: Parameters<typeof runCommand>[1] = {},
): Promise<Replayed> {
  const out = join(temporaryDirectory(), 'run');
  const finished = await runCommand(['replay', capture, '--target', target, '--out', out, ...args], options);
  return { ...finished, out };
}

/** The document that `--json` printed. */
export function documentOf({ stdout, stderr }: Finished): ReplayDocument {
  let document: ReplayDocument & { kind: string };
  try {
    document = JSON.parse(stdout);
  } catch {
    throw new Error(`no document on stdout: ${stdout}\n${stderr}`);
  }
  // Parsing drops members that the schema does not have, so this finds unknown members.
  if (document.kind === 'replay') expect(replaySchema.parse(document)).toEqual(document);
  return document;
}
